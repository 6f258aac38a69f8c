"""Models that nobody here made: packages of their files, checked like those that ship.

How they become packages is known to `tools.adopted`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge.imaging.conform import CannotConform
from edge.imaging.nifti import UnreadableVolume
from engines import EngineError, PackageError
from engines.draft import DraftError
from engines.graph.errors import GraphError
from tools.adopted import ANSWERS, adopt, t1_beside
from tools.gpu_check import engines_here
from tools.gpu_check.machine import Machine
from tools.gpu_check.part import Part, failed, not_run

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
    known = sorted(ANSWERS.glob("*.toml"))
    if not known:
        yield not_run(_NAME, f"{ANSWERS} is not here; run it from a checkout.")
    for answers in known:
        lacks = _missing(models, answers.stem)
        if lacks is not None:
            yield not_run(answers.stem, lacks)
            continue
        try:
            package = adopt(models, answers, folder / "packages" / answers.stem)
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


def _missing(models: Path, name: str) -> str | None:
    needed = (models / f"{name}.onnx", models / f"{name}-labels.csv", t1_beside(models))
    return next((f"{file} is not here." for file in needed if not file.is_file()), None)
