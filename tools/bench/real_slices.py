"""How well an engine of the shipped classifier tells bleeding slices of real patients apart.

For the difference between two precisions, which needs no patients that the model has not seen; how
good the model is says its card.
"""

from __future__ import annotations

import csv
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.imaging.prepare import prepare_for
from engines import InputSpec, ModelPackage
from engines.agreement import auc
from engines.runtime import onnx_runtime
from tools.train.examples import read_picture
from tools.train.head_slices import KINDS, hounsfield, neighbours

_HEADS = Path(__file__).parents[2].parent / "shared" / "data" / "head-ct"
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Heads:
    """Real slices as a model eats them.

    Parameters
    ----------
    planes : ndarray of float32, shape (n, windows, height, width)
    rows : ndarray of int, shape (n, slices)
        Each slice and its neighbours, from low to high.
    bleeding : ndarray of int8, shape (n,)
    patients : int
    """

    planes: NDArray[np.float32]
    rows: NDArray[np.int64]
    bleeding: NDArray[np.int8]
    patients: int

    def batch(self, start: int) -> NDArray[np.float32]:
        """Return up to eight inputs, (m, channels, height, width)."""
        stack = self.planes[self.rows[start : start + _AT_ONCE]]  # (m, slices, windows, h, w)
        return np.moveaxis(stack, 2, 1).reshape(len(stack), -1, *stack.shape[3:])


def real_heads(spec: InputSpec, *, every: int) -> Heads | None:
    """Read ../shared/data/head-ct as a model eats it; None where it is absent.

    Parameters
    ----------
    spec : InputSpec
        Of a model of slices.
    every : int
        1 takes all patients, 10 a tenth.
    """
    table = _HEADS / "slices.csv"
    if not table.is_file():
        return None
    with table.open(newline="", encoding="utf-8") as stream:
        records = sorted(
            (f"{int(one['patient']):03d}", int(one["slice"]), any(one[k] == "1" for k in KINDS))
            for one in csv.DictReader(stream)
        )
    chosen = sorted({patient for patient, _, _ in records})[::every]
    records = [one for one in records if one[0] in set(chosen)]
    planes = []
    for patient, number, _ in records:
        stem = _HEADS / patient / f"{number:02d}"
        brain, bone = (
            read_picture(stem.with_name(f"{stem.name}-{window}.jpg"), f"named by {table}")[1]
            for window in ("brain", "bone")
        )
        planes.append(prepare_for(spec, hounsfield(brain, bone)))
    names = np.asarray([patient for patient, _, _ in records])
    bleeding = np.asarray([ill for _, _, ill in records], np.int8)
    return Heads(np.stack(planes), neighbours(names, spec.neighbours), bleeding, len(chosen))


def slice_auc(package: ModelPackage, model: Path, heads: Heads) -> float | None:
    """Return the AUC of the first finding; None where all slices are of one kind.

    Parameters
    ----------
    package : ModelPackage
        Its first finding is any hemorrhage.
    model : pathlib.Path
        Its graph in some precision.
    heads : Heads
        From `real_heads`.
    """
    column = package.findings[0].output
    with closing(onnx_runtime.load(model, threads=1)) as engine:
        found = [
            engine.infer({package.input.tensor: heads.batch(start)})[package.output.tensor]
            for start in range(0, len(heads.rows), _AT_ONCE)
        ]
    return auc(np.concatenate(found)[:, column], heads.bleeding)
