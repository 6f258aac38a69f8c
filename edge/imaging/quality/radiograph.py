"""What a frontal chest radiograph looks like from afar: two dark fields beside a bright column.

Pure. The pattern is drawn, not learned from anybody's images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

_SIDE = 64
_SIZES = tuple((columns, rows) for columns in (40, 46, 52, 58) for rows in (32, 40, 48, 56))
"""Of the pattern, in pixels of a 64 x 64 image: lungs are of many shapes, and frames of others."""


@dataclass(frozen=True, slots=True)
class Chest:
    """How much a radiograph is like a frontal chest.

    Parameters
    ----------
    column : float
        Brightness of the middle column, where the spine and the heart are, beyond that of the
        frame, where there is air; -1 to 1, below zero in a negative.
    likeness : float
        How much better a drawn chest fits than its negative, plus half of `column`; -2.5 to 2.5.
    """

    column: float
    likeness: float


def compare_with_chest(image: Plane) -> Chest:
    """Hold an image against what is drawn of a chest.

    The image is made 64 x 64 and its histogram flat, so that no window or exposure matters. The fit
    is the normalised cross-correlation (Lewis, Vision Interface, 1995) with the pattern at sixteen
    sizes wherever it fits.

    Parameters
    ----------
    image : float32 (rows, columns)
        Brightness as shown, 0 to 1.
    """
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    low, high = float(small.min()), float(small.max())
    if high <= low:
        return Chest(0.0, 0.0)
    flat = cv2.equalizeHist(((small - low) * (255 / (high - low))).astype(np.uint8))
    even = flat.astype(np.float32)
    fits = [cv2.matchTemplate(even, _pattern(*size), cv2.TM_CCOEFF_NORMED) for size in _SIZES]
    chest = max(float(fit.max()) for fit in fits)
    negative = max(float(-fit.min()) for fit in fits)
    even /= 255
    frame = np.concatenate([even[:3].ravel(), even[:, :3].ravel(), even[:, -3:].ravel()])
    column = float(even[10:58, 27:37].mean()) - float(frame.mean())
    return Chest(column, chest - negative + column / 2)


def white(image: Plane) -> float:
    """Return the share of the image, 0 to 1, that is shown as pure white.

    Black does not count: the air beside a patient is black in every good image.
    """
    return float(np.mean(image >= 0.995))


def spread(image: Plane) -> float:
    """Return the range of brightness that the middle 80 % of the image take, 0 to 1."""
    low, high = np.percentile(image, (10, 90))
    return float(high - low)


@cache
def _pattern(columns: int, rows: int) -> Plane:
    x, y = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(-1, 1, rows))
    pattern = np.full((rows, columns), 1.0, np.float32)
    for side in (-1.0, 1.0):
        # Wider towards the diaphragm, as lungs are.
        across = (x - side * 0.5) / (0.33 + 0.07 * y)
        pattern[across**2 + ((y + 0.1) / 0.75) ** 2 < 1] = 0.0
    soft: Plane = cv2.GaussianBlur(pattern, (0, 0), 2.0)
    return soft
