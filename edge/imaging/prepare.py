"""Pixels in modality units to the planes a model eats.

Pure. The worker calls ``cv2.setNumThreads(1)`` once when it starts; importing this does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]


def window(pixels: Plane, level: float, width: float) -> Plane:
    """Map ``level - width / 2`` to 0 and ``level + width / 2`` to 1, and clip.

    The straight line of PS3.3 C.11.2.1.3.2 (LINEAR_EXACT), which is what models are trained on;
    `edge.imaging.voi` has the one for display.

    Parameters
    ----------
    pixels : float32 (rows, columns)
        In modality units, HU for CT.
    level, width : float
        In the same units; `width` above zero.

    Returns
    -------
    float32 (rows, columns)
        0 to 1.

    Raises
    ------
    ValueError
        If `width` is not above zero.
    """
    if not width > 0:
        raise ValueError(f"the width of a window must be above zero, not {width}")
    scaled: Plane = np.subtract(pixels, np.float32(level - width / 2), dtype=np.float32)
    scaled *= np.float32(1.0 / width)
    np.clip(scaled, np.float32(0), np.float32(1), out=scaled)
    return scaled


def prepare(
    pixels: Plane,
    *,
    windows: Sequence[tuple[float, float]],
    height: int,
    width: int,
    spacing: tuple[float, float] | None = None,
) -> Plane:
    """Return one plane for each window, fitted into ``height x width`` without stretching.

    The image keeps its proportions in the patient. What is left of the frame, above and below or
    left and right, holds 0, the floor of every window.

    Parameters
    ----------
    pixels : float32 (rows, columns)
        In modality units.
    windows : sequence of (level, width)
        In modality units.
    height, width : int
        Size of the planes in pixels.
    spacing : (float, float), optional
        Distance of rows, then of columns, in mm; square pixels if None.

    Returns
    -------
    float32 (len(windows), height, width)
        0 to 1, contiguous.

    Raises
    ------
    ValueError
        If the image or the target is empty, or a window or spacing is not above zero.
    """
    fitted = fit(pixels.shape, height=height, width=width, spacing=spacing)
    top, left = (height - fitted[0]) // 2, (width - fitted[1]) // 2
    planes = np.zeros((len(windows), height, width), dtype=np.float32)
    # Area averaging keeps thin bright lines when pixels are merged; it blocks when they grow.
    shrinks = fitted[0] * fitted[1] < pixels.shape[0] * pixels.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    for plane, (level, wide) in zip(planes, windows, strict=True):
        bright = window(pixels, level, wide)
        if bright.shape != fitted:
            bright = cv2.resize(bright, (fitted[1], fitted[0]), interpolation=method)
        plane[top : top + fitted[0], left : left + fitted[1]] = bright
    return planes


def fit(
    shape: tuple[int, ...], *, height: int, width: int, spacing: tuple[float, float] | None = None
) -> tuple[int, int]:
    """Return the rows and columns that an image of `shape` takes within ``height x width``.

    Raises
    ------
    ValueError
        If the image or the target is empty, or a spacing is not above zero.
    """
    rows, columns = shape
    down, across = spacing or (1.0, 1.0)
    if min(rows, columns, height, width) < 1:
        raise ValueError("an image and its target have at least one row and one column")
    if not (down > 0 and across > 0):
        raise ValueError("pixel spacing must be above zero")
    tall, wide = rows * down, columns * across
    scale = min(height / tall, width / wide)
    return (
        min(max(round(tall * scale), 1), height),
        min(max(round(wide * scale), 1), width),
    )
