"""Models that nobody here made, as packages: what docs/models.md does by command, at once.

A model is known when ``docs/models/`` has what a person wrote down of it. Its check set is cut from
the T1 that lies in ``data/brain-mri`` beside the folder of the models.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge.imaging.conform import conform
from edge.imaging.nifti import read_nifti
from engines import ModelPackage, load_package
from engines.checkset import crops, write_check_set
from engines.draft import draft, read_answers, read_labels, to_toml
from engines.graph.adopting import adopt as whole_model
from engines.interview import interview
from engines.manifest import MODEL_FILE, PACKAGE_FILE

_ROOT = Path(__file__).parents[1]
ANSWERS = _ROOT / "docs" / "models"
_MODELS = _ROOT.parent / "shared" / "models"
_T1 = Path("data", "brain-mri", "t1.nii.gz")


def adopted(folder: Path, *, most: int | None = None) -> Iterator[ModelPackage]:
    """Write a package for each model of ../shared/models whose answers are in docs/models.

    Parameters
    ----------
    folder : pathlib.Path
        Where the packages go.
    most : int, optional
        How many models at most, the smaller ones first.

    Yields
    ------
    ModelPackage
        With a check set of crops of a real head; none where ../shared is absent.
    """
    if not t1_beside(_MODELS).is_file():
        return
    pairs = [(answers, _MODELS / f"{answers.stem}.onnx") for answers in ANSWERS.glob("*.toml")]
    there = [pair for pair in pairs if pair[1].is_file()]
    for answers, _ in sorted(there, key=lambda pair: pair[1].stat().st_size)[:most]:
        yield adopt(_MODELS, answers, folder / answers.stem)


def adopt(models: Path, answers: Path, target: Path) -> ModelPackage:
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
    whole = whole_model(file)
    tables = draft(interview(whole), name, labels, read_answers(answers))
    target.mkdir(parents=True)
    (target / MODEL_FILE).write_bytes(whole.content)
    (target / PACKAGE_FILE).write_text(to_toml(tables, file.name), encoding="utf-8")
    package = load_package(target)
    voxels, affine = read_nifti(t1_beside(models))
    write_check_set(package, list(crops(conform(voxels, affine, package.input))))
    return load_package(target)


def t1_beside(models: Path) -> Path:
    """Return where the T1 lies, beside a folder of models."""
    return models.absolute().parent / _T1
