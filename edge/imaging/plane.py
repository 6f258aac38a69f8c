"""Where a frame lies in the patient and how large its pixels are, as its header says.

A value that cannot be used is as good as absent: it comes back as None. Source: DICOM PS3.3
C.7.6.2 (image plane), C.7.6.16.2.1, .3 and .4 (the same for a frame).
"""

from __future__ import annotations

import math

from edge.imaging.groups import PIXEL_MEASURES, PLANE_ORIENTATION, PLANE_POSITION, FrameScope

_POSITION = 0x00200032
_ORIENTATION = 0x00200037
_PIXEL_SPACING = 0x00280030
_IMAGER_SPACING = 0x00181164

WANTED = frozenset({_POSITION, _ORIENTATION, _PIXEL_SPACING, _IMAGER_SPACING})
"""The tags that this module reads from a data set."""


def position_of(frame: FrameScope) -> tuple[float, float, float] | None:
    """Return Image Position (Patient) (0020,0032) in mm."""
    values = frame.vector(PLANE_POSITION, _POSITION, 3)
    return (values[0], values[1], values[2]) if values else None


def orientation_of(
    frame: FrameScope,
) -> tuple[float, float, float, float, float, float] | None:
    """Return Image Orientation (Patient) (0020,0037), if it is two directions at a right angle.

    Scanners round the cosines; a tenth either way is let pass.
    """
    values = frame.vector(PLANE_ORIENTATION, _ORIENTATION, 6)
    if values is None:
        return None
    a, b, c, d, e, f = values
    row, column = math.hypot(a, b, c), math.hypot(d, e, f)
    usable = 0.9 < row < 1.1 and 0.9 < column < 1.1 and abs(a * d + b * e + c * f) < 0.1
    return (a, b, c, d, e, f) if usable else None


def pixel_spacing_of(frame: FrameScope) -> tuple[float, float] | None:
    """Return the distance of rows, then of columns, in mm, both above zero.

    Pixel Spacing (0028,0030), else Imager Pixel Spacing (0018,1164), which is measured at the
    detector and does for the proportions of a radiograph.
    """
    for tag in (_PIXEL_SPACING, _IMAGER_SPACING):
        values = frame.vector(PIXEL_MEASURES, tag, 2)
        if values and min(values) > 0:
            return values[0], values[1]
    return None


def edges_of(
    orientation: tuple[float, float, float, float, float, float],
) -> tuple[str, str, str, str]:
    """Return the patient's sides at the left, right, top and bottom edge of an image.

    Parameters
    ----------
    orientation : tuple of 6 float
        Direction cosines of a row and of a column (0020,0037); x runs to the patient's left, y to
        the back, z to the head.
    """
    right, bottom = orientation[:3], orientation[3:]
    left, top = (tuple(-part for part in direction) for direction in (right, bottom))
    first, second, third, fourth = (_side(one) for one in (left, right, top, bottom))
    return first, second, third, fourth


def _side(direction: tuple[float, ...]) -> str:
    axis = max(range(3), key=lambda one: abs(direction[one]))
    return ("LR", "PA", "HF")[axis][direction[axis] < 0]
