"""The look of an image as its maker meant it, for modalities without a unit of their own.

Source: DICOM PS3.3 C.11.2 (VOI LUT): look-up table, LINEAR, LINEAR_EXACT and SIGMOID.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

_FALLBACK_PERCENTILES = (0.5, 99.5)


class Curve(Enum):
    """VOI LUT Function (0028,1056)."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


@dataclass(frozen=True, slots=True)
class Window:
    """A window of interest, in modality units.

    Parameters
    ----------
    level, width : float
        Window Center and Width; the width is at least 1 for LINEAR and above 0 otherwise.
    curve : Curve
        How values run between the ends.
    """

    level: float
    width: float
    curve: Curve


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A VOI look-up table.

    Parameters
    ----------
    first : int
        The modality value that the first entry stands for.
    entries : float32 (n,)
        Brightness, 0 to 1.
    """

    first: int
    entries: Plane


def render(pixels: Plane, look: Window | Table | None, *, mirror: float | None = None) -> Plane:
    """Return brightness 0 to 1 by the image's own look.

    Parameters
    ----------
    pixels : float32 (rows, columns)
        In modality units.
    look : Window, Table or None
        None spreads the pixels from their 0.5th to their 99.5th percentile.
    mirror : float, optional
        Given for a MONOCHROME1 image whose pixels were turned around as ``mirror - pixel``: the
        look was made for the pixels as they were, and is applied to those.

    Returns
    -------
    float32 (rows, columns)
        0 to 1.
    """
    if look is None:
        return _spread(pixels)
    values = pixels if mirror is None else np.float32(mirror) - pixels
    bright = _through_table(values, look) if isinstance(look, Table) else _windowed(values, look)
    return bright if mirror is None else np.float32(1) - bright


def _spread(pixels: Plane) -> Plane:
    low, high = np.percentile(pixels, _FALLBACK_PERCENTILES)
    if high <= low:
        return np.zeros_like(pixels)
    bright: Plane = np.clip((pixels - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return bright


def _through_table(values: Plane, table: Table) -> Plane:
    last = len(table.entries) - 1
    places = np.clip(np.rint(values) - table.first, 0, last).astype(np.intp)
    bright: Plane = table.entries[places]
    return bright


def _windowed(values: Plane, window: Window) -> Plane:
    level, width = window.level, window.width
    bright: NDArray[np.floating]
    if window.curve is Curve.SIGMOID:
        # Beyond these ends exp() overflows and the curve is flat to float32.
        steps = np.clip(-4.0 * (values - np.float32(level)) / width, -80.0, 80.0)
        bright = 1.0 / (1.0 + np.exp(steps))
        return bright.astype(np.float32)
    if window.curve is Curve.LINEAR:
        level, width = level - 0.5, width - 1.0
    if width == 0:
        return (values > level).astype(np.float32)
    bright = np.clip((values - np.float32(level)) / width + 0.5, 0.0, 1.0)
    return bright.astype(np.float32)
