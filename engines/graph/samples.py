"""Inputs that stand for what the model will see: for calibration and for comparing precisions."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engines.graph.errors import GraphError
from engines.package import ModelPackage
from engines.runtime.protocol import Array

Feeds = dict[str, Array]


def check_samples(package: ModelPackage, *, batch: int = 4) -> list[Feeds]:
    """Return the inputs of the package's check set, `batch` samples at a time.

    Raises
    ------
    GraphError
        If the package has no check set, or it lacks the input.
    """
    if package.check_set is None:
        raise GraphError(
            f"{package.path}: [checks] check_set is missing; without it no precision "
            "but fp32 can be made."
        )
    return read_samples(package.check_set, (package.input.tensor,), batch=batch)


def read_samples(file: Path, inputs: Sequence[str], *, batch: int = 1) -> list[Feeds]:
    """Read an npz with one array for each input; the first axis counts the samples.

    Parameters
    ----------
    file : pathlib.Path
        Arrays of float, or of uint8, which stand for 0 to 1 in steps of 1/255.
    inputs : sequence of str
        Names of the model's inputs.
    batch : int
        Samples in one run, at most. Every run has as many as the others: the collectors of int8
        stack what the runs gave.

    Returns
    -------
    list of dict of str to ndarray
        Each fit for one run of the model; float32.

    Raises
    ------
    GraphError
        If the file cannot be read, lacks an input, or the arrays differ in length.
    """
    try:
        with np.load(file, allow_pickle=False) as held:
            arrays = {name: _as_float(held[name]) for name in inputs}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise GraphError(f"{file}: not an npz with {', '.join(inputs)}: {error}") from error
    lengths = {len(array) if array.ndim else 0 for array in arrays.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise GraphError(f"{file}: every input needs the same number of samples, at least one.")
    count = lengths.pop()
    batch = max(size for size in range(1, min(batch, count) + 1) if count % size == 0)
    return [
        {name: array[start : start + batch] for name, array in arrays.items()}
        for start in range(0, count, batch)
    ]


def _as_float(array: Array) -> Array:
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255)
    return array.astype(np.float32, copy=False)
