"""Pixels in modality units to the planes a model eats.

Pure. The worker calls ``cv2.setNumThreads(1)`` once when it starts; importing this does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from engines import InputSpec
from engines.cuda.recipe import Recipe

Plane = NDArray[np.float32]
Draw = Callable[[Plane, Recipe], Plane]
"""Makes float32 (windows, height, width) of pixels, as a recipe says."""

_SUBJECT_GRID = 128
_SUBJECT_MARGIN = 0.03
_SUBJECT_LEAST = 0.04


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


def between(pixels: Plane, low: float, high: float) -> Plane:
    """Map the `low` percentile of all pixels to 0 and the `high` one to 1, and clip.

    Parameters
    ----------
    pixels : float32 (rows, columns)
        Of any unit.
    low, high : float
        Percentiles, 0 to 100.

    Returns
    -------
    float32 (rows, columns)
        0 to 1; all 0 where the two percentiles are the same value.
    """
    floor, ceiling = np.percentile(pixels, (low, high))
    if ceiling <= floor:
        return np.zeros_like(pixels)
    return window(pixels, (floor + ceiling) / 2, ceiling - floor)


def subject(pixels: Plane, level: float) -> tuple[slice, slice]:
    """Return rows and columns of the square that holds the body, the head rest left out.

    The body is the largest connected region above `level` once thin structures are gone; the
    square keeps a margin of 3 % and stays inside the image, so that it may end up a rectangle.
    Where next to nothing is above the level, it is the whole image.

    Parameters
    ----------
    pixels : float32 (rows, columns)
        In modality units.
    level : float
        In the same units; for CT something between air and soft tissue, such as -400 HU.
    """
    rows, columns = pixels.shape
    step = max(rows, columns) / _SUBJECT_GRID
    small = cv2.resize(
        (pixels > level).astype(np.float32),
        (max(round(columns / step), 1), max(round(rows / step), 1)),
        interpolation=cv2.INTER_AREA,
    )
    body = cv2.morphologyEx(
        (small > 0.5).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)
    )
    _, _, stats, _ = cv2.connectedComponentsWithStats(body, connectivity=4)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if areas.size == 0 or areas.max() < _SUBJECT_LEAST * body.size:
        return slice(0, rows), slice(0, columns)
    left, top, wide, tall, _ = (float(value) * step for value in stats[1 + int(areas.argmax())])
    half = max(wide, tall) * (0.5 + _SUBJECT_MARGIN)
    return _around(top + tall / 2, half, rows), _around(left + wide / 2, half, columns)


def _around(middle: float, half: float, end: int) -> slice:
    return slice(max(round(middle - half), 0), min(round(middle + half), end))


def with_opencv(pixels: Plane, recipe: Recipe) -> Plane:
    """Make the planes on the CPU."""
    fitted, (top, left) = recipe.fitted, recipe.place
    planes = np.zeros((len(recipe.windows), recipe.height, recipe.width), dtype=np.float32)
    # Area averaging keeps thin bright lines when pixels are merged; it blocks when they grow.
    shrinks = fitted[0] * fitted[1] < pixels.shape[0] * pixels.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    for plane, (level, wide) in zip(planes, recipe.windows, strict=True):
        bright = window(pixels, level, wide)
        if bright.shape != fitted:
            bright = cv2.resize(bright, (fitted[1], fitted[0]), interpolation=method)
        plane[top : top + fitted[0], left : left + fitted[1]] = bright
    return planes


def prepare_for(
    spec: InputSpec,
    pixels: Plane,
    *,
    spacing: tuple[float, float] | None = None,
    draw: Draw = with_opencv,
) -> Plane:
    """Return the planes that a model of slices eats, by what its package says.

    Parameters
    ----------
    spec : InputSpec
        Of a package whose layout is ``NCHW``.
    pixels : float32 (rows, columns)
        In HU where windows scale them; otherwise the brightness that `edge.imaging.pixels.voi`
        gives.
    spacing : (float, float), optional
        Distance of rows, then of columns, in mm; square pixels if None.
    draw : callable
        What makes the planes once it is settled what becomes of the pixels.

    Returns
    -------
    float32 (windows or 1, height, width)
        0 to 1, contiguous.
    """
    if spec.crop_above is not None:
        pixels = pixels[subject(pixels, spec.crop_above)]
    windows: Sequence[tuple[float, float]] = spec.windows
    if spec.percentiles is not None:
        pixels, windows = between(pixels, *spec.percentiles), ((0.5, 1.0),)
    if spec.fit == "stretch":
        # Pixels shaped so that the image fills the frame: nothing is left to pad.
        spacing = (spec.height / pixels.shape[0], spec.width / pixels.shape[1])
    return prepare(
        pixels,
        windows=windows,
        height=spec.height,
        width=spec.width,
        spacing=spacing,
        draw=draw,
    )


def prepare(
    pixels: Plane,
    *,
    windows: Sequence[tuple[float, float]],
    height: int,
    width: int,
    spacing: tuple[float, float] | None = None,
    draw: Draw = with_opencv,
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
    draw : callable
        What makes the planes.

    Returns
    -------
    float32 (len(windows), height, width)
        0 to 1, contiguous.

    Raises
    ------
    ValueError
        If the image or the target is empty, there is no window, or one or the spacing is not
        above zero.
    """
    fitted = fit(pixels.shape, height=height, width=width, spacing=spacing)
    rows, columns = pixels.shape
    return draw(pixels, Recipe(rows, columns, fitted, height, width, tuple(windows)))


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
