"""How well an engine of the shipped classifier tells bleeding slices of real patients apart."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines import ModelPackage
from engines.agreement import auc
from engines.runtime import onnx_runtime
from tools.train import data

_HEADS = Path(__file__).parents[2].parent / "shared" / "data" / "head-ct"
_BRAIN = ((40.0, 120.0),)
_SEED, _CALIBRATION, _TEST = 7, 10, 20  # those of the shipped model's training
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Told:
    """An AUC and of whom."""

    auc: float
    patients: int
    slices: int
    ill: int


def slice_auc(package: ModelPackage, model: Path, *, every: int) -> Told | None:
    """Return the AUC on the test patients' slices; None where they or their window are missing.

    Parameters
    ----------
    package : ModelPackage
        The shipped classifier.
    model : pathlib.Path
        Its graph in some precision.
    every : int
        1 takes all slices, 10 a tenth.
    """
    spec = package.input
    fits = spec.windows == _BRAIN and spec.neighbours == 1 and spec.crop_above is None
    if not fits or not (_HEADS / "slices.csv").is_file():
        return None
    slices = data.read(_HEADS, size=spec.height)
    patients = data.split(slices, calibration=_CALIBRATION, test=_TEST, seed=_SEED).test
    rows = slices.rows(patients)[::every]
    with closing(onnx_runtime.load(model, threads=1)) as engine:
        found = [
            engine.infer({spec.tensor: slices.tensor(rows[start : start + _AT_ONCE])})
            for start in range(0, len(rows), _AT_ONCE)
        ]
    logits = np.concatenate([one[package.output.tensor][:, 0] for one in found])
    area = auc(logits, slices.bleeding[rows].astype(np.int8))
    ill = int(slices.bleeding[rows].sum())
    return None if area is None else Told(area, len(patients), len(rows), ill)
