"""The brain and what surrounds it inside the skull: sulci, ventricles, cisterns, falx.

Same frame as `head_skull`. The folding is the zero level of a random field: seen in a plane, it
runs and branches as sulci do.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tools.scanner.drawing import (
    Place,
    Plane,
    Point,
    Texture,
    band,
    capsule,
    ellipsoid,
    inside,
    join,
    level_distance,
    paint,
    rise,
    tube,
)
from tools.scanner.head_skull import PIXEL_MM, SIZE, Palette, Skull

_LATERAL = (
    (11.0, -36.0, 50.0, 2.5),
    (8.0, -26.0, 53.0, 4.0),
    (4.5, -8.0, 55.0, 4.0),
    (10.0, 12.0, 62.0, 4.5),
    (19.0, 32.0, 57.0, 6.0),
    (24.0, 44.0, 50.0, 5.5),
    (24.0, 60.0, 47.0, 2.0),
)
_TEMPORAL = ((24.0, 42.0, 48.0, 4.5), (31.0, 20.0, 33.0, 2.6), (30.0, -8.0, 27.0, 2.0))
_CISTERNS = (
    ((0.0, -24.0, 27.0, 2.5), (0.0, -12.0, 24.0, 4.0)),
    ((4.0, -12.0, 24.0, 3.5), (17.0, -14.0, 25.0, 3.0)),
    ((17.0, -14.0, 25.0, 2.6), (37.0, -14.0, 36.0, 2.2)),
    ((4.0, -6.0, 23.0, 3.5), (16.0, 6.0, 27.0, 2.2)),
    ((16.0, 6.0, 27.0, 2.0), (17.0, 20.0, 33.0, 2.0)),
    ((17.0, 20.0, 33.0, 2.0), (0.0, 31.0, 37.0, 2.8)),
    ((0.0, -2.0, 22.0, 2.6), (0.0, 2.0, -8.0, 2.2)),
    ((2.0, 2.0, 8.0, 1.8), (18.0, 12.0, 7.0, 2.6)),
)


@dataclass(frozen=True, slots=True)
class Push:
    """A mass that shoves the brain aside near it.

    Parameters
    ----------
    centre : (float, float, float)
        In mm, patient's frame.
    reach_mm : float
        Beyond this distance nothing moves.
    by_mm : float
        Largest displacement towards the other side.
    """

    centre: Point
    reach_mm: float
    by_mm: float

    def apply(self, at: Place) -> Place:
        """Return where the tissue now at each pixel would lie without the mass."""
        cx, cy, cz = self.centre
        r2 = (at.x - cx) ** 2 + (at.y - cy) ** 2 + (at.z - cz) ** 2
        weight = np.maximum(0, 1 - r2 / self.reach_mm**2) ** 2
        return Place(at.x + np.float32(np.sign(cx) * self.by_mm) * weight, at.y, at.z)


class Brain:
    """One person's brain, drawn plane by plane into a `Skull`."""

    def __init__(self, rng: np.random.Generator, skull: Skull) -> None:
        self._skull = skull
        self._folds = Texture(rng, 5.2)
        self._coarse = Texture(rng, 16.0)
        self._fine = Texture(rng, 4.0)
        self._atrophy = rng.uniform(0.7, 1.2)
        self._sides = rng.uniform(0.85, 1.15, size=2)
        # Not everyone has a calcified pineal gland, and most that are are small.
        self._pineal = max(0.0, rng.uniform(-0.5, 1.0))

    def ventricles(self, at: Place) -> Plane:
        """Distance to the lateral ventricles' walls, negative inside."""
        side = at.mirrored()
        horn = join(tube(side, _LATERAL), tube(side, _TEMPORAL), 3.0)
        # One side is always a little wider.
        wider = np.where(at.x > 0, self._sides[0], self._sides[1])
        return np.asarray(horn - 1.2 * (wider * self._atrophy - 0.7), dtype=np.float32)

    def draw(
        self, image: Plane, at: Place, z_mm: float, tissue: Palette, push: Push | None = None
    ) -> None:
        """Paint the contents of the skull over `image`."""
        cavity = self._skull.cavity(at)
        if float(cavity.min()) > 1.0:
            return
        here = inside(cavity, 1.4)
        moved = push.apply(at) if push is not None else at
        moved = Place(moved.x - self._skull.midline(at), moved.y, moved.z)
        layer = np.full_like(image, tissue.csf)
        self._parenchyma(layer, moved, z_mm, cavity, tissue)
        self._fluid(layer, moved, tissue)
        self._membranes(layer, moved, cavity, tissue)
        image += here * (layer - image)

    def _parenchyma(
        self, layer: Plane, at: Place, z_mm: float, cavity: Plane, tissue: Palette
    ) -> None:
        side = at.mirrored()
        depth = -cavity
        coarse = self._coarse.at(z_mm, SIZE)
        sulcus = self._sulci(at, z_mm)
        cerebellar = self._cerebellum(at)
        reach = 15.0 + 4.0 * coarse + 5.0 * rise(at.z, 70, 95)
        open_mm = self._atrophy * (1.0 + 0.5 * rise(at.z, 60, 100)) * (1.15 - depth / reach)
        open_mm = np.where(depth < reach, open_mm, -1.0)
        folded = np.clip(open_mm, -1, 2)
        surface = 0.3 + 0.7 * self._atrophy + 0.5 * coarse
        cortex = np.minimum(depth - surface, sulcus - folded + np.where(depth < reach, 0, 50))
        white = tissue.white + (tissue.grey - tissue.white) * 0.12 * coarse
        paint(layer, tissue.grey, 0.35 + 0.65 * inside(-cortex, 1.3))
        paint(layer, white, inside(4.0 - cortex, 2.4) * inside(-cerebellar, 3.0))
        self._nuclei(layer, at, side, tissue)
        if z_mm < 52:
            self._hindbrain(
                layer, at, side, z_mm, cerebellar=cerebellar, depth=depth, tissue=tissue
            )

    def _sulci(self, at: Place, z_mm: float) -> Plane:
        """Distance to the nearest sulcus. Sulci run inwards: the field is stretched that way."""
        round_z = np.sqrt(np.maximum(1 - ((at.z - 40) / 73) ** 2, 0.05))
        radius = np.sqrt((at.x / 68) ** 2 + ((at.y - 2) / 83) ** 2) / round_z
        pull = np.clip(radius, 0.3, 1.2) ** -0.4
        rows, columns = np.indices((SIZE, SIZE), dtype=np.float32)
        middle = (SIZE - 1) / 2
        stretched = cv2.remap(
            np.asarray(self._folds.at(z_mm, SIZE), np.float32),
            np.asarray(middle + (columns - middle) * pull, np.float32),
            np.asarray(middle + (rows - middle) * pull, np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
        return level_distance(np.asarray(stretched), PIXEL_MM)

    def _nuclei(self, layer: Plane, at: Place, side: Place, tissue: Palette) -> None:
        for centre, semi in (
            ((12.0, -22.0, 50.0), (6.0, 9.0, 10.0)),  # head of caudate
            ((25.0, -4.0, 48.0), (6.5, 17.0, 12.0)),  # lentiform
            ((10.0, 12.0, 48.0), (8.0, 13.0, 10.0)),  # thalamus
        ):
            paint(layer, tissue.deep, 0.85 * inside(ellipsoid(side, centre, semi), 2.5))
        insula = np.maximum(
            np.abs(side.x - 37 + 0.004 * (at.y + 4) ** 2) - 1.8,
            ellipsoid(side, (36, -4, 46), (10, 22, 16)),
        )
        paint(layer, tissue.deep, 0.8 * inside(insula, 2.0))

    def _cerebellum(self, at: Place) -> Plane:
        """Distance to the space under the tentorium, negative inside."""
        roof = 46.0 - 0.5 * np.abs(at.x) - 0.25 * np.maximum(at.y - 40, 0)
        return np.asarray(np.maximum((at.z - roof) * 0.85, (22.0 - at.y) * 0.9), np.float32)

    def _hindbrain(
        self,
        layer: Plane,
        at: Place,
        side: Place,
        z_mm: float,
        *,
        cerebellar: Plane,
        depth: Plane,
        tissue: Palette,
    ) -> None:
        fine = self._fine.at(z_mm, SIZE)
        mass = np.maximum(cerebellar + 1.0, 2.2 - depth)
        mixed = tissue.grey + (tissue.white - tissue.grey) * 0.35
        paint(layer, mixed, inside(mass, 2.0))
        folia = inside(np.abs(fine) * 2.0 - 0.25, 1.0) * inside(mass, 2.0) * inside(depth - 14, 6)
        paint(layer, tissue.csf, 0.35 * folia)
        core = ellipsoid(side, (20.0, 46.0, 10.0), (13.0, 13.0, 10.0))
        paint(layer, tissue.white, 0.7 * inside(core, 5.0))
        stem = join(
            ellipsoid(at, (0.0, 15.0, 8.0), (15.0, 13.0, 16.0)),
            join(
                ellipsoid(at, (0.0, 13.0, 32.0), (15.0, 12.0, 11.0)),
                capsule(at, (0.0, 18.0, -4.0), (0.0, 30.0, -46.0), 9.0, 6.5),
                6.0,
            ),
            6.0,
        )
        stem = np.maximum(stem, 1.0 - depth)
        paint(layer, tissue.white + 0.3 * (tissue.grey - tissue.white), inside(stem, 2.0))
        peduncle = capsule(side, (12.0, 18.0, 8.0), (24.0, 36.0, 8.0), 7.0)
        paint(layer, tissue.white, 0.8 * inside(peduncle, 3.0))

    def _fluid(self, layer: Plane, at: Place, tissue: Palette) -> None:
        side = at.mirrored()
        fluid = self.ventricles(at)
        fluid = join(fluid, ellipsoid(at, (0, 8, 41), (1.6 + self._atrophy, 13, 10)))
        fluid = join(fluid, ellipsoid(at, (0, 35, 10), (6.5, 4.5, 10)))
        fluid = join(fluid, ellipsoid(at, (0, 66, -14), (9, 7, 12)))
        for rod in _CISTERNS:
            fluid = join(fluid, tube(side, rod), 1.5)
        sylvian = capsule(side, (37, -12, 38), (58, 2, 48), 1.6 * self._atrophy, 1.8)
        cleft = np.maximum(
            np.abs(side.x - 40 + 0.004 * (at.y + 4) ** 2) - 0.9 * self._atrophy,
            ellipsoid(side, (39, -4, 45), (10, 22, 14)),
        )
        paint(layer, tissue.csf, 0.6 * inside(join(sylvian, cleft, 1.5), 1.8))
        paint(layer, tissue.csf, inside(fluid, 1.8))
        plexus = ellipsoid(side, (21.0, 37.0, 54.0), (2.2, 4.5, 3.0))
        paint(layer, tissue.calcium, 0.2 * inside(plexus, 2.0))
        if self._pineal > 0.2:
            size = (2.2 * self._pineal, 2.6 * self._pineal, 2.2 * self._pineal)
            pineal = ellipsoid(at, (0.0, 25.0, 43.0), size)
            paint(layer, tissue.calcium, 0.7 * inside(pineal, 1.5))

    def _membranes(self, layer: Plane, at: Place, cavity: Plane, tissue: Palette) -> None:
        # Between the hemispheres, except where the callosum and all below it join them.
        joined = ellipsoid(at, (0.0, 4.0, 44.0), (30.0, 46.0, 26.0))
        above = np.maximum(-joined, 20 - at.z)
        under = np.maximum(above, -self._cerebellum(at))
        split = np.maximum(np.abs(at.x) - 0.9 * self._atrophy - 0.3, under)
        paint(layer, tissue.csf, 0.5 * inside(split, 1.6))
        falx = np.maximum(np.abs(at.x) - 0.7, under)
        free = np.maximum(falx, -ellipsoid(at, (0.0, -20.0, 62.0), (40, 40, 40)))
        paint(layer, tissue.dura, 0.85 * inside(np.where(at.y > 0, falx, free), 1.2))
        tent = band(self._cerebellum(at), 0.7, 1.6) * inside(12.0 - np.abs(at.x), 4.0)
        paint(layer, tissue.dura, 0.6 * tent * inside(30.0 - at.y, 8.0))
        sinus = np.maximum(-4.5 - cavity, np.abs(at.x) - 3.8)
        sinus = np.maximum(sinus + 0.35 * np.abs(at.x), 12 - at.z)
        top = np.maximum(sinus, -at.y - 10 * np.sign(at.z - 88))
        paint(layer, tissue.vessel, inside(top, 1.6))
