"""How far an image is turned, from the axis that its two halves mirror each other about. Pure."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

_SIDE = 64
_WIDEST, _COARSE = 40, 8  # degrees
_SHIFTS = (-2, 0, 2)


def mirror_axis_deg(
    image: Plane, centre: tuple[float, float], radius: float
) -> tuple[float, float]:
    """Return by how much the axis of symmetry is turned from the vertical, and how well it mirrors.

    The image is turned about `centre` in steps and its left half is correlated with its mirrored
    right half; the best turn wins (Liu, Collins and Rothfus, IEEE TMI 20(3), 2001, find the
    mid-sagittal line of a pathological brain so).

    Parameters
    ----------
    image : float32 (rows, columns)
        Of square pixels.
    centre : (float, float)
        x and y in pixels; the axis passes within two 64ths of the square's side.
    radius : float
        Half the side of the square about `centre` that is looked at, in pixels.

    Returns
    -------
    (float, float)
        Degrees, positive where the image is turned clockwise, at most 47 either way, in whole
        degrees; and the correlation, -1 to 1.
    """
    tried: dict[int, float] = {}

    def fit(angle: int) -> float:
        if angle not in tried:
            tried[angle] = _mirrored(_turned(image, centre, radius, angle))
        return tried[angle]

    best = max(range(-_WIDEST, _WIDEST + 1, _COARSE), key=fit)
    step = _COARSE // 2
    while step:
        best = max((best - step, best, best + step), key=fit)
        step //= 2
    return float(best), tried[best]


def _turned(image: Plane, centre: tuple[float, float], radius: float, angle: int) -> Plane:
    """Return the square about `centre`, turned back by `angle`, as 64 x 64 pixels."""
    step = 2 * radius / _SIDE
    cos, sin = math.cos(math.radians(angle)) * step, math.sin(math.radians(angle)) * step
    half = (_SIDE - 1) / 2
    # From a pixel of the square to where it lies in the image.
    place = np.array(
        [
            [cos, -sin, centre[0] - half * cos + half * sin],
            [sin, cos, centre[1] - half * sin - half * cos],
        ]
    )
    turned: Plane = cv2.warpAffine(
        image, place, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return turned


def _mirrored(square: Plane) -> float:
    """Return the best correlation of the left half with the mirrored right."""
    best = -1.0
    for shift in _SHIFTS:
        axis = _SIDE // 2 + shift
        reach = min(axis, _SIDE - axis)
        left = square[:, axis - reach : axis]
        right = square[:, axis : axis + reach][:, ::-1]
        left, right = left - left.mean(), right - right.mean()
        size = math.sqrt(float((left * left).sum()) * float((right * right).sum()))
        if size > 0:
            best = max(best, float((left * right).sum()) / size)
    return best
