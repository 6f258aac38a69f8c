"""From stored pixels to what a model eats, as arithmetic: rescale, window, resize, normalise.

`reference` is the specification of the kernel in ``prepare.cu``, operation by operation in float32
and in the same order, so that the two can be compared bit for bit. The OpenCV path of a machine
without a GPU agrees with it within `TOLERANCE`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.cuda.resampling import Taps, method_for, taps

TOLERANCE = 4e-6
"""Largest difference of a brightness between 0 and 1 from OpenCV's, which sums in another order."""

Stack = NDArray[np.int16] | NDArray[np.uint16] | NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What becomes of every slice of a stack.

    Parameters
    ----------
    rows, columns : int
        Of a stored slice.
    fitted : (int, int)
        Rows and columns that it takes in the frame; it stands in the middle of it.
    height, width : int
        Of the frame, at least `fitted`.
    windows : tuple of (level, width)
        In modality units; one plane each, 0 to 1.
    normal : tuple of (mean, deviation)
        One for each window: what is subtracted from the brightness, and what it is divided by then.
        Empty leaves it as it is.

    Raises
    ------
    ValueError
        If a size is below 1 or above the frame, a width or deviation is not above 0, or there are
        not as many `normal` as windows.
    """

    rows: int
    columns: int
    fitted: tuple[int, int]
    height: int
    width: int
    windows: tuple[tuple[float, float], ...]
    normal: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if min(self.rows, self.columns, *self.fitted) < 1:
            raise ValueError("a slice and what it becomes have at least one row and one column")
        if self.fitted[0] > self.height or self.fitted[1] > self.width:
            raise ValueError(f"{self.fitted} does not fit into {self.height} x {self.width}")
        if not self.windows or any(not width > 0 for _, width in self.windows):
            raise ValueError("there must be a window, and its width must be above zero")
        if self.normal and len(self.normal) != len(self.windows):
            raise ValueError(f"{len(self.normal)} of normal for {len(self.windows)} windows")
        if any(not deviation > 0 for _, deviation in self.normal):
            raise ValueError("a deviation must be above zero")

    @property
    def place(self) -> tuple[int, int]:
        """Row and column of the frame where the image begins."""
        return (self.height - self.fitted[0]) // 2, (self.width - self.fitted[1]) // 2

    @property
    def tables(self) -> tuple[Taps, Taps]:
        """How rows and columns are resampled."""
        method = method_for((self.rows, self.columns), self.fitted)
        return (
            taps(self.rows, self.fitted[0], method),
            taps(self.columns, self.fitted[1], method),
        )

    @property
    def steps(self) -> NDArray[np.float32]:
        """float32 (windows, 4): floor and gain of the window, then mean and gain of the normal."""
        normal = self.normal or ((0.0, 1.0),) * len(self.windows)
        return np.array(
            [
                (level - width / 2, 1.0 / width, mean, 1.0 / deviation)
                for (level, width), (mean, deviation) in zip(self.windows, normal, strict=True)
            ],
            np.float32,
        )


def reference(stack: Stack, lines: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32]:
    """Prepare a stack on the CPU, in the kernel's own arithmetic.

    Parameters
    ----------
    stack : int16, uint16 or float32 (slices, rows, columns)
        As stored; finite.
    lines : float32 (slices, 2)
        Slope and intercept of each slice, to modality units.
    recipe : Recipe
        What becomes of it.

    Returns
    -------
    float32 (slices, windows, height, width)
    """
    by_row, by_column = recipe.tables
    slope, intercept = (lines[:, part].reshape(-1, 1, 1) for part in (0, 1))
    units = stack.astype(np.float32) * slope + intercept
    planes = np.empty((len(stack), len(recipe.windows), recipe.height, recipe.width), np.float32)
    top, left = recipe.place
    down, across = slice(top, top + recipe.fitted[0]), slice(left, left + recipe.fitted[1])
    for number, (floor, gain, mean, contrast) in enumerate(recipe.steps):
        bright = np.clip((units - floor) * gain, np.float32(0), np.float32(1))
        wide = _summed(bright, by_column)
        planes[:, number] = (np.float32(0) - mean) * contrast
        fitted = _summed(wide.swapaxes(1, 2), by_row).swapaxes(1, 2)
        planes[:, number, down, across] = (fitted - mean) * contrast
    return planes


def _summed(values: NDArray[np.float32], table: Taps) -> NDArray[np.float32]:
    """Resample the last axis: the taps are added from the first to the last."""
    total = np.zeros((*values.shape[:-1], len(table.first)), np.float32)
    last = values.shape[-1] - 1
    for step in range(table.weights.shape[1]):
        # Beyond a pixel's count the weight is 0, and adding nothing changes no bit.
        total += values[..., np.minimum(table.first + step, last)] * table.weights[:, step]
    return total
