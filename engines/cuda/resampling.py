"""Which source pixels make a target pixel, and with what weight, along one axis.

The tables are those of OpenCV's ``INTER_AREA`` and ``INTER_LINEAR``, so that a GPU that sums by
them shows a model what it was trained on. Two axes are independent of each other.
Source: OpenCV, modules/imgproc/src/resize.cpp.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Method = Literal["area", "linear", "area-growing"]

_SLIVER = 1e-3  # a part of a pixel this small is left out, as OpenCV leaves it out


@dataclass(frozen=True, slots=True, eq=False)
class Taps:
    """A table for one axis.

    Parameters
    ----------
    first : int32 (target,)
        The first source pixel of each target pixel.
    count : int32 (target,)
        How many follow one another from there, at least 1.
    weights : float32 (target, most)
        Of each; 0 beyond `count`.
    """

    first: NDArray[np.int32]
    count: NDArray[np.int32]
    weights: NDArray[np.float32]


def method_for(source: tuple[int, int], target: tuple[int, int]) -> Method:
    """Return how an image of rows and columns is brought to others.

    Merged pixels are averaged, grown ones are interpolated. Where an image shrinks on the whole but
    not along both axes, OpenCV interpolates with weights that keep pixels sharp.
    """
    if target[0] * target[1] >= source[0] * source[1]:
        return "linear"
    return "area" if target[0] <= source[0] and target[1] <= source[1] else "area-growing"


@functools.lru_cache(maxsize=64)  # the slices of a series are alike
def taps(source: int, target: int, method: Method) -> Taps:
    """Return the table that brings an axis of `source` pixels to `target`; it is to be read only.

    Raises
    ------
    ValueError
        If a size is below 1.
    """
    if source < 1 or target < 1:
        raise ValueError(f"an axis of {source} pixels cannot be brought to {target}")
    scale = 1.0 / (target / source)
    if method == "area":
        parts = [_covered(place, scale, source) for place in range(target)]
    else:
        parts = [_between(place, scale, source, method) for place in range(target)]
    most = max(len(weights) for _, weights in parts)
    table = np.zeros((target, most), np.float32)
    for row, (_, weights) in zip(table, parts, strict=True):
        row[: len(weights)] = weights
    return Taps(
        np.array([first for first, _ in parts], np.int32),
        np.array([len(weights) for _, weights in parts], np.int32),
        table,
    )


def _covered(place: int, scale: float, source: int) -> tuple[int, list[float]]:
    """Weights by the share of a target pixel that each source pixel covers."""
    begin = place * scale
    end = begin + scale
    cell = min(scale, source - begin)
    last = min(math.floor(end), source - 1)
    first = min(math.ceil(begin), last)
    weights = [1.0 / cell] * (last - first)
    if end - last > _SLIVER:
        weights.append(min(end - last, 1.0, cell) / cell)
    if first - begin > _SLIVER:
        return first - 1, [(first - begin) / cell, *weights]
    return first, weights


def _between(place: int, scale: float, source: int, method: Method) -> tuple[int, list[float]]:
    """Weights of the two source pixels around a target pixel; at an end only one is left."""
    if method == "linear":
        at = float(np.float32((place + 0.5) * scale - 0.5))
        first = math.floor(at)
        share = at - first
    else:
        first = math.floor(place * scale)
        share = float(np.float32((place + 1) - (first + 1) * (1.0 / scale)))
        share = 0.0 if share <= 0 else share - math.floor(share)
    if first < 0:
        return 0, [1.0]
    if first >= source - 1:
        return source - 1, [1.0]
    return first, [1.0 - share, share]
