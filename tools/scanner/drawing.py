"""Shapes, textures and paint from which the phantoms are drawn.

Distances are signed and in mm, negative inside. A shape becomes paint through `inside`, whose
soft edge stands for the partial volume of a pixel and of the slice's thickness.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.floating[Any]]
"""One image plane, shape (rows, columns)."""
Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pixels of one plane are, in mm: x to the left, y to the back, z to the head."""

    x: Plane
    y: Plane
    z: Plane

    def mirrored(self) -> Place:
        """Both sides folded on one: |x|."""
        return Place(np.abs(self.x), self.y, self.z)


def square(size: int, width_mm: float) -> tuple[Plane, Plane]:
    """Return x and y of a square of `size` pixels a side, centred on zero."""
    axis = ((np.arange(size) - (size - 1) / 2) * (width_mm / size)).astype(np.float32)
    return np.broadcast_to(axis, (size, size)), np.broadcast_to(axis[:, None], (size, size))


def inside(distance: Plane, edge_mm: float | Plane = 1.2) -> Plane:
    """Return how much of each pixel is inside: 1 within, 0 without, a ramp of `edge_mm`."""
    return np.asarray(np.clip(0.5 - distance / edge_mm, 0.0, 1.0))


def band(distance: Plane, half_width_mm: float, edge_mm: float = 1.2) -> Plane:
    """Return how much of each pixel is within `half_width_mm` of a surface."""
    return inside(np.abs(distance) - half_width_mm, edge_mm)


def rise(value: Plane, start: float, end: float) -> Plane:
    """0 up to `start`, 1 from `end`, straight between."""
    return np.asarray(np.clip((value - start) / (end - start), 0.0, 1.0))


def paint(image: Plane, value: float | Plane, cover: Plane) -> None:
    """Lay `value` over the image where `cover` is 1, mixing where it is between 0 and 1."""
    image += cover * (value - image)


def ellipsoid(at: Place, centre: Point, semi: Point) -> Plane:
    """Distance to an ellipsoid, exact at its surface and close to it near by."""
    u = (at.x - centre[0]) / semi[0]
    v = (at.y - centre[1]) / semi[1]
    w = (at.z - centre[2]) / semi[2]
    f = np.sqrt(u * u + v * v + w * w)
    slope = np.sqrt((u / semi[0]) ** 2 + (v / semi[1]) ** 2 + (w / semi[2]) ** 2)
    return np.asarray((f - 1) * f / np.maximum(slope, 1e-3 / min(semi)), dtype=np.float32)


def capsule(
    at: Place, start: Point, end: Point, radius: float, taper: float | None = None
) -> Plane:
    """Distance to a rod with round ends, of `radius` at its start and `taper` at its end."""
    ax, ay, az = (e - s for s, e in zip(start, end, strict=True))
    length2 = ax * ax + ay * ay + az * az
    px, py, pz = at.x - start[0], at.y - start[1], at.z - start[2]
    t = np.clip((px * ax + py * ay + pz * az) / length2, 0.0, 1.0)
    px, py, pz = px - t * ax, py - t * ay, pz - t * az
    thick = radius if taper is None else radius + t * (taper - radius)
    return np.asarray(np.sqrt(px * px + py * py + pz * pz) - thick, dtype=np.float32)


def tube(at: Place, points: tuple[tuple[float, float, float, float], ...]) -> Plane:
    """Distance to a chain of rods through (x, y, z, radius)."""
    chain = None
    for start, end in pairwise(points):
        rod = capsule(at, start[:3], end[:3], start[3], end[3])
        chain = rod if chain is None else join(chain, rod, 2.0)
    if chain is None:
        raise ValueError("a tube needs two points")
    return chain


def join(one: Plane, other: Plane, smooth_mm: float = 0.0) -> Plane:
    """Union of two shapes, the crease between them filled over `smooth_mm`."""
    if smooth_mm == 0.0:
        return np.minimum(one, other)
    h = np.maximum(smooth_mm - np.abs(one - other), 0.0) / smooth_mm
    return np.asarray(np.minimum(one, other) - h * h * (smooth_mm / 4))


FLAT = 0.08
"""Least slope per mm with which a texture's crossings are measured; the mean is 0.3 to 0.4."""


class Texture:
    """A random field in space that varies over a given distance, mean 0 and deviation 1.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides the field; the same state gives the same field.
    grain_mm : float
        Distance over which it varies.
    width_mm, height_mm : float
        Extent in x and y, and in z.
    low_mm : float
        Z of the lower end.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        grain_mm: float,
        width_mm: float = 230.4,
        height_mm: float = 176.0,
        low_mm: float = -48.0,
    ) -> None:
        self._cell = grain_mm / 3
        self._low = low_mm
        across = int(np.ceil(width_mm / self._cell))
        up = int(np.ceil(height_mm / self._cell)) + 2
        field = rng.standard_normal((up, across, across), dtype=np.float32)
        smooth = _blur3(field, 1.3) - _blur3(field, 3.0)
        self._field = smooth / smooth.std()

    def at(self, z_mm: float, size: int) -> Plane:
        """Return the field in the plane at `z_mm`, of `size` pixels a side."""
        level = np.clip((z_mm - self._low) / self._cell, 0, len(self._field) - 1.001)
        lower = int(level)
        part = np.float32(level - lower)
        plane = self._field[lower] * (1 - part) + self._field[lower + 1] * part
        return np.asarray(
            cv2.resize(plane, (size, size), interpolation=cv2.INTER_CUBIC), dtype=np.float32
        )


def level_distance(field: Plane, pixel_mm: float) -> Plane:
    """Distance in mm to where a `Texture` crosses zero, near the crossing."""
    dy, dx = np.gradient(field, pixel_mm)
    slope = np.sqrt(dx * dx + dy * dy)
    return np.asarray(np.abs(field) / np.maximum(slope, FLAT), dtype=np.float32)


def detector_noise(rng: np.random.Generator, size: int, grain_px: float) -> Plane:
    """Return noise as filtered back-projection leaves it: mean 0, deviation 1, no low tones."""
    white = rng.standard_normal((size, size), dtype=np.float32)
    grains = cv2.GaussianBlur(white, (0, 0), grain_px)
    grains -= 0.8 * cv2.GaussianBlur(white, (0, 0), grain_px * 2.2)
    return np.asarray(grains / grains.std(), dtype=np.float32)


def _blur3(field: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    planes = np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in field])
    return _blur_first(planes, sigma)


def _blur_first(field: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    reach = int(3 * sigma + 0.5)
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-(steps**2) / (2 * sigma * sigma))
    weights /= weights.sum()
    padded = np.pad(field, ((reach, reach), (0, 0), (0, 0)), mode="reflect")
    out = np.zeros_like(field)
    for offset, weight in enumerate(weights):
        out += np.float32(weight) * padded[offset : offset + len(field)]
    return out
