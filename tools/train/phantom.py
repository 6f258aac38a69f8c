"""Heads drawn by arithmetic, to compare engines with: no patient is in a model package.

A skull, a brain with two ventricles and a midline, grain as a scanner makes it, and in every other
head a drawn bleed. They look like the brain window closely enough that the network is busy; they
say nothing about how well it judges patients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tools.train import lesions

_GREY = 0.46  # 35 HU in the brain window
_WATER = 0.22  # 6 HU
_SCALP = 0.3


def heads(count: int, *, size: int, seed: int) -> NDArray[np.uint8]:
    """Draw `count` triples of neighbouring slices.

    Returns
    -------
    ndarray of uint8, shape (count, 3, size, size)
        The brain window, 255 for its upper end.
    """
    rng = np.random.default_rng(seed)
    drawn: list[NDArray[np.uint8]] = []
    while len(drawn) < count:
        slices = _head(size, rng)
        if bleeds(count)[len(drawn)]:
            lesion = lesions.draw(slices, rng)
            if lesion is None:
                continue
            slices = lesion.image
        drawn.append(np.round(slices * 255).astype(np.uint8))
    return np.stack(drawn)


def bleeds(count: int) -> NDArray[np.int8]:
    """Return into which of `count` heads a bleed is drawn: 1, every other one; shape (count,)."""
    return (np.arange(count) % 2).astype(np.int8)


def _head(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    rows, columns = (np.mgrid[:size, :size] / size - 0.5) * 2
    tilt = rng.uniform(-0.15, 0.15)
    x = (columns - rng.uniform(-0.05, 0.05)) * np.cos(tilt) + rows * np.sin(tilt)
    y = rows * np.cos(tilt) - columns * np.sin(tilt)
    wide, long = rng.uniform(0.52, 0.66), rng.uniform(0.7, 0.82)
    ventricle = rng.uniform(0.05, 0.1)
    slices = []
    for level in (-1, 0, 1):
        shrink = 1 - 0.03 * level
        radius = np.hypot(x / (wide * shrink), y / (long * shrink))
        picture = np.zeros((size, size))
        picture[radius < 1.08] = _SCALP
        picture[radius < 1.0] = 1.0
        picture[radius < 0.88] = _GREY
        for side in (-1, 1):
            inner = np.hypot((x - side * 0.1) / ventricle, y / (0.25 + 0.03 * level))
            picture[inner < 1] = _WATER
        picture[(np.abs(x) < 0.012) & (radius < 0.88) & (np.abs(y) > 0.4)] += 0.06
        grain = rng.normal(0, 0.02, picture.shape) * ((picture > 0) & (picture < 1))
        slices.append(np.clip(picture + grain, 0, 1))
    return np.stack(slices).astype(np.float32)
