"""Bleeds for the head CT phantom: one deep in the brain, one between skull and dura.

`intraparenchymal` is the hypertensive bleed in its most common place: from the putamen, 60 to
75 HU, a rim of edema, the brain pushed aside, blood in the ventricle. `epidural` is the bleed of
a blow to the side of the head: a lens of blood under the bone, swollen scalp over it.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from tools.scanner.drawing import Place, Plane, Point, Texture, ellipsoid, inside, paint
from tools.scanner.head_brain import Brain, Push
from tools.scanner.head_skull import SIZE, Skull

BleedKind = Literal["intraparenchymal", "epidural"]


class Bleed(Protocol):
    """Blood in a head.

    Attributes
    ----------
    name : str
        What a radiologist would call it.
    centre_mm, semi_mm : (float, float, float)
        Middle and half extents in the patient's frame, before the margin is made irregular.
    hu : float
        Mean of the blood.
    push : Push
        What it does to the brain near it.
    """

    name: str
    centre_mm: Point
    semi_mm: Point
    hu: float
    push: Push

    def draw(self, image: Plane, at: Place, z_mm: float) -> Plane:
        """Paint it over a plane in HU; return how much of each pixel is blood in the skull."""
        ...


def make_bleed(kind: BleedKind, rng: np.random.Generator, skull: Skull, brain: Brain) -> Bleed:
    """Return a bleed of that kind; its place and size are drawn from `rng`."""
    if kind == "epidural":
        return Epidural(rng, skull)
    return Intraparenchymal(rng, skull, brain)


class Intraparenchymal:
    """A bleed from the putamen that has broken into the ventricles."""

    name = "intraparenchymal hemorrhage with intraventricular extension"

    def __init__(self, rng: np.random.Generator, skull: Skull, brain: Brain) -> None:
        self._skull, self._brain = skull, brain
        side = 1.0 if rng.random() < 0.5 else -1.0
        self.centre_mm = (side * rng.uniform(26, 30), rng.uniform(-8, 4), rng.uniform(44, 54))
        self.semi_mm = (rng.uniform(11, 14), rng.uniform(17, 22), rng.uniform(12, 16))
        self.hu = float(rng.uniform(64, 70))
        self.push = Push(self.centre_mm, 42.0, 4.0)
        self._ragged, self._torn = Texture(rng, 14.0), Texture(rng, 6.0)

    def draw(self, image: Plane, at: Place, z_mm: float) -> Plane:
        rough = self._ragged.at(z_mm, SIZE)
        brain_only = inside(self._skull.cavity(at) + 2.0, 1.4)
        clot = ellipsoid(at, self.centre_mm, self.semi_mm) + 2.0 * rough
        clot = clot + 0.8 * self._torn.at(z_mm, SIZE)
        edema = inside(clot - 5.0, 6.0) * brain_only
        image += edema * np.minimum(0, 22.0 - image) * (image > -50)
        cover = inside(clot, 1.8) * brain_only
        # The margin is the densest part: it clots first.
        paint(image, self.hu + 2.5 * rough - 6.0 * inside(clot + 4, 6), cover)
        # The patient lies on the back: blood in the ventricle sinks to the occipital horn.
        pushed = self.push.apply(at)
        horn = self._brain.ventricles(Place(pushed.x - self._skull.midline(at), pushed.y, pushed.z))
        other_side = np.where(np.sign(at.x) == np.sign(self.centre_mm[0]), 0.0, 14.0)
        level = 30.0 + other_side - at.y + 1.5 * rough
        pool = np.maximum(np.maximum(horn, level), np.abs(at.z - 50) - 22)
        pooled = inside(pool, 1.8) * brain_only
        paint(image, 58.0, pooled)
        return np.maximum(cover, pooled)


class Epidural:
    """A lens of blood between the bone and the dura at the side of the head."""

    name = "epidural hemorrhage"

    def __init__(self, rng: np.random.Generator, skull: Skull) -> None:
        self._skull = skull
        side = 1.0 if rng.random() < 0.5 else -1.0
        self.centre_mm = (side * rng.uniform(63, 66), rng.uniform(-6, 18), rng.uniform(50, 64))
        self.semi_mm = (rng.uniform(15, 19), rng.uniform(26, 34), rng.uniform(24, 30))
        self.hu = float(rng.uniform(62, 70))
        self.push = Push(self.centre_mm, 70.0, 6.0)
        self._mixed = Texture(rng, 14.0)

    def draw(self, image: Plane, at: Place, z_mm: float) -> Plane:
        table = self._skull.inner_table(at)
        lens = np.maximum(ellipsoid(at, self.centre_mm, self.semi_mm), table + 0.4)
        cover = inside(lens, 1.6)
        paint(image, self.hu + 3.0 * self._mixed.at(z_mm, SIZE), cover)
        x, y, z = self.centre_mm
        lump = ellipsoid(at, (x * 1.08, y, z), (15.0, 36.0, 30.0))
        swelling = np.maximum(lump, 6.5 - table)
        paint(image, 48.0, inside(swelling, 2.0))
        return cover
