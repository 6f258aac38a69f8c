"""Models that nobody here made: packages of their files, checked like those that ship.

A model is taken when ``docs/models/`` has what a person wrote down of it. Its check set is cut from
the T1 that lies in ``data/brain-mri`` beside the folder of the models.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from edge.imaging.conform import CannotConform, conform
from edge.imaging.nifti import UnreadableVolume, read_nifti
from engines import EngineError, ModelPackage, PackageError, load_package
from engines.checkset import crops, write_check_set
from engines.draft import DraftError, draft, read_answers, read_labels, to_toml
from engines.graph.errors import GraphError
from engines.interview import interview
from engines.manifest import MODEL_FILE, PACKAGE_FILE
from tools.gpu_check import engines_here
from tools.gpu_check.machine import Machine
from tools.gpu_check.part import Part, failed, not_run

_ANSWERS = Path(__file__).parents[2] / "docs" / "models"
_T1 = Path("data", "brain-mri", "t1.nii.gz")
_NAME = "models that nobody here made"


def every(machine: Machine, folder: Path, models: Path | None, *, quick: bool) -> Iterator[Part]:
    """Check each model of a folder that is known here, and say which are missing.

    Parameters
    ----------
    machine : Machine
        What there is to run them.
    folder : pathlib.Path
        Where packages and engines are made.
    models : pathlib.Path or None
        Where ``NAME.onnx`` and ``NAME-labels.csv`` lie; None where nobody said.
    quick : bool
        Fewer runs for each figure.
    """
    if models is None:
        yield not_run(_NAME, "--models FOLDER says where they are; it was left out.")
        return
    known = sorted(_ANSWERS.glob("*.toml"))
    if not known:
        yield not_run(_NAME, f"{_ANSWERS} is not here; run it from a checkout.")
    for answers in known:
        lacks = _missing(models, answers.stem)
        if lacks is not None:
            yield not_run(answers.stem, lacks)
            continue
        try:
            package = made_package(models, answers, folder / "packages" / answers.stem)
        except (
            CannotConform,
            DraftError,
            EngineError,
            GraphError,
            PackageError,
            UnreadableVolume,
        ) as error:
            yield failed(answers.stem, str(error))
            continue
        yield from engines_here.of_package(package, machine, folder, quick=quick)


def made_package(models: Path, answers: Path, target: Path) -> ModelPackage:
    """Make a package as `scanside models add` and `checkset` do, and return it.

    Raises
    ------
    GraphError, DraftError, PackageError
        If the model or what is written of it cannot be taken.
    CannotConform, UnreadableVolume
        If no check set can be cut from the T1.
    EngineError
        If FP32 cannot run it.
    """
    name = answers.stem
    labels = read_labels(models / f"{name}-labels.csv")
    file = models / f"{name}.onnx"
    tables = draft(interview(file), name, labels, read_answers(answers))
    target.mkdir(parents=True)
    shutil.copyfile(file, target / MODEL_FILE)
    (target / PACKAGE_FILE).write_text(to_toml(tables, file.name), encoding="utf-8")
    package = load_package(target)
    voxels, affine = read_nifti(_t1(models))
    write_check_set(package, list(crops(conform(voxels, affine, package.input))))
    return load_package(target)


def _missing(models: Path, name: str) -> str | None:
    needed = (models / f"{name}.onnx", models / f"{name}-labels.csv", _t1(models))
    return next((f"{file} is not here." for file in needed if not file.is_file()), None)


def _t1(models: Path) -> Path:
    return models.absolute().parent / _T1
