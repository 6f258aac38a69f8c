"""The body in a slice: where it is, how large, and whether the frame cuts it.

Pure. A body is the largest bright region after thin things (headrest, tubes) are opened away, with
its holes filled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Mask = NDArray[np.uint8]

_THIN_MM = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """The body's outline in one slice.

    Parameters
    ----------
    mask : uint8 (rows, columns)
        1 inside, holes filled.
    diameter_mm : float
        Of a circle of the same area.
    cut : float
        Share of its outline, 0 to 1, that is the edge of the field of view.
    """

    mask: Mask
    diameter_mm: float
    cut: float


def find_body(
    pixels: Plane, spacing: tuple[float, float], *, above: float, padding: float | None = None
) -> Body | None:
    """Return the body in an axial slice, or None where there is none.

    Parameters
    ----------
    pixels : float32 (rows, columns)
    spacing : (float, float)
        Distance of rows, then of columns, in mm.
    above : float
        Tissue is brighter than this; -400 HU lies half-way between air and soft tissue.
    padding : float, optional
        What fills the corners where the field of view is a circle (PS3.3 C.7.5.1.1.2); the circle
        is then the edge that cuts.
    """
    tissue = (pixels > above).astype(np.uint8)
    reach = max(1, round(_THIN_MM / 2 / min(spacing)))
    opening = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    outlines, _ = cv2.findContours(
        cv2.morphologyEx(tissue, cv2.MORPH_OPEN, opening), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    if not outlines:
        return None
    outline = max(outlines, key=cv2.contourArea)
    mask = np.zeros(pixels.shape, np.uint8)
    cv2.drawContours(mask, [outline], -1, 1, cv2.FILLED)
    area_mm2 = float(mask.sum()) * spacing[0] * spacing[1]
    return Body(
        mask=mask,
        diameter_mm=2.0 * math.sqrt(area_mm2 / math.pi),
        cut=_cut(outline[:, 0, :], pixels, padding),
    )


def _cut(outline: NDArray[np.int32], pixels: Plane, padding: float | None) -> float:
    """Return the share of the outline's points on the edge of the field of view."""
    rows, columns = pixels.shape
    x, y = outline[:, 0], outline[:, 1]
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
    if padding is not None and (corners <= padding).all():
        centre = (columns - 1) / 2, (rows - 1) / 2
        on_edge = np.hypot(x - centre[0], y - centre[1]) >= min(rows, columns) / 2 - 2
    else:
        on_edge = (x <= 1) | (y <= 1) | (x >= columns - 2) | (y >= rows - 2)
    return float(np.mean(on_edge))
