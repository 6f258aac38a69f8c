"""A drawn head CT, with a bleed on request.

The bleed is a hypertensive one, the most common place and look: from the putamen, 60 to 75 HU,
a rim of edema, the brain pushed towards the other side, and blood in the ventricle.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from tools.scanner.drawing import (
    Place,
    Plane,
    Point,
    Texture,
    detector_noise,
    ellipsoid,
    inside,
    paint,
)
from tools.scanner.head_brain import Brain, Push
from tools.scanner.head_skull import PIXEL_MM, SIZE, WIDTH_MM, Palette, Skull
from tools.scanner.series import Exam, Grid, Subject, ct_series

PIXELS = 512
SPACING_MM = WIDTH_MM / PIXELS
COVERAGE_MM = (-40.0, 120.0)
NOISE_HU = 3.3

TISSUE_HU = Palette(
    air=-1000,
    fat=-85,
    skin=40,
    muscle=55,
    bone=1150,
    marrow=520,
    petrous=1250,
    csf=5,
    grey=41,
    white=33,
    deep=40,
    dura=50,
    vessel=52,
    calcium=170,
    vitreous=10,
    lens=75,
    rest=500,
)


@dataclass(frozen=True, slots=True)
class Bleed:
    """Where the blood is.

    Parameters
    ----------
    centre_mm : (float, float, float)
        Patient coordinates (x left, y back, z head) of the hematoma's middle.
    semi_mm : (float, float, float)
        Its half extents before the margin is made irregular.
    hu : float
        Mean of the clot.
    """

    centre_mm: Point
    semi_mm: Point
    hu: float

    @property
    def push(self) -> Push:
        """What it does to the brain near it."""
        return Push(self.centre_mm, 42.0, 4.0)


@dataclass(frozen=True, slots=True)
class HeadCt:
    """A drawn volume and the truth about it.

    Parameters
    ----------
    hu : ndarray of int16, shape (slices, 512, 512)
        Hounsfield units, foot to head.
    grid : Grid
        Where the voxels are.
    truth : dict
        What was drawn: kind, location, volume; JSON-ready.
    """

    hu: NDArray[np.int16]
    grid: Grid
    truth: dict[str, object]


def head_ct_series(
    lesion: bool, slices: int = 40, seed: int = 0, *, when: datetime | None = None
) -> list[FileDataset]:
    """Return a head CT series; the same seed is the same person, every call a new study."""
    return as_series(draw_head_ct(lesion, slices, seed), seed, when)


def as_series(head: HeadCt, seed: int, when: datetime | None = None) -> list[FileDataset]:
    """Return the drawn volume as CT Image Storage instances."""
    number = f"{seed:04d}"
    return ct_series(
        head.hu,
        Subject(f"Phantom^Head {number}", f"PHANTOM-HEAD-{number}", "FM"[seed % 2], 45 + seed % 40),
        Exam("HEAD", "CT head without contrast", "Axial", when or datetime.now().astimezone()),
        head.grid,
    )


def draw_head_ct(lesion: bool, slices: int = 40, seed: int = 0) -> HeadCt:
    """Draw the volume; equal arguments give bit-equal voxels.

    Raises
    ------
    ValueError
        If `slices` is not 1 to 400.
    """
    if not 1 <= slices <= 400:
        raise ValueError(f"a head CT has 1 to 400 slices, not {slices}.")
    thickness = (COVERAGE_MM[1] - COVERAGE_MM[0]) / slices
    positions = tuple(COVERAGE_MM[0] + (i + 0.5) * thickness for i in range(slices))
    person = _Person(seed)
    noise = np.random.default_rng([seed, 1])
    hu = np.empty((slices, PIXELS, PIXELS), dtype=np.int16)
    blood_mm3 = 0.0
    for index, z in enumerate(positions):
        image, at, blood = person.plane(z, thickness, lesion=lesion)
        blood_mm3 += blood * thickness
        hu[index] = _scan(image, person.skull.cavity(at), noise)
    grid = Grid(SPACING_MM, thickness, positions)
    return HeadCt(hu, grid, person.truth(grid, blood_mm3 / 1000 if lesion else None))


class _Person:
    """One head, and the bleed it may have."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        shape = np.random.default_rng([seed, 0])
        self.skull = Skull(shape)
        self._brain = Brain(shape, self.skull)
        rng = np.random.default_rng([seed, 2])
        side = 1.0 if rng.random() < 0.5 else -1.0
        self._bleed = Bleed(
            (side * rng.uniform(26, 30), rng.uniform(-8, 4), rng.uniform(44, 54)),
            (rng.uniform(11, 14), rng.uniform(17, 22), rng.uniform(12, 16)),
            rng.uniform(64, 70),
        )
        self._ragged = Texture(rng, 14.0)

    def plane(self, z: float, thickness: float, *, lesion: bool) -> tuple[Plane, Place, float]:
        """Return a plane in HU, where its pixels are, and the area of blood in it in mm2."""
        image, at = self.skull.draw(z, thickness, TISSUE_HU)
        self._brain.draw(image, at, z, TISSUE_HU, self._bleed.push if lesion else None)
        if not lesion:
            return image, at, 0.0
        return image, at, float(self._paint_blood(image, at, z).sum()) * PIXEL_MM**2

    def _paint_blood(self, image: Plane, at: Place, z: float) -> Plane:
        """Paint edema, clot and ventricular blood; return how much of each pixel is blood."""
        bleed = self._bleed
        rough = self._ragged.at(z, SIZE)
        brain_only = inside(self.skull.cavity(at) + 2.0, 1.4)
        clot = ellipsoid(at, bleed.centre_mm, bleed.semi_mm) + 2.2 * rough
        edema = inside(clot - 5.0, 6.0) * brain_only
        image += edema * np.minimum(0, 22.0 - image) * (image > -50)
        # A fresh clot is denser in its middle, where it has begun to retract.
        cover = inside(clot, 1.8) * brain_only
        paint(image, bleed.hu + 2.5 * rough - 6.0 * inside(-clot - 4, 6), cover)
        # The patient lies on the back: blood in the ventricle sinks to the occipital horn.
        pushed = bleed.push.apply(at)
        horn = self._brain.ventricles(
            Place(pushed.x - self.skull.midline(at), pushed.y, pushed.z)
        )
        other_side = np.where(np.sign(at.x) == np.sign(bleed.centre_mm[0]), 0.0, 14.0)
        level = 30.0 + other_side - at.y + 1.5 * rough
        pool = np.maximum(np.maximum(horn, level), np.abs(at.z - 50) - 22)
        pooled = inside(pool, 1.8) * brain_only
        paint(image, 58.0, pooled)
        return np.maximum(cover, pooled)

    def truth(self, grid: Grid, blood_ml: float | None) -> dict[str, object]:
        """Return what is in the volume; `blood_ml` is None where there is no bleed."""
        truth: dict[str, object] = {"kind": "head-ct", "seed": self._seed, "lesion": None}
        if blood_ml is not None:
            x, y, z = self.skull.scanner_position(self._bleed.centre_mm)
            reach = self._bleed.semi_mm[2]
            truth["lesion"] = {
                "type": "intraparenchymal hemorrhage with intraventricular extension",
                "centre_mm": [round(x, 1), round(y, 1), round(z, 1)],
                "semi_axes_mm": [round(a, 1) for a in self._bleed.semi_mm],
                "mean_hu": round(self._bleed.hu, 1),
                "blood_ml": round(blood_ml, 1),
                "instances": [
                    i for i, p in enumerate(grid.positions_mm, start=1) if abs(p - z) <= reach
                ],
            }
        return truth


def _scan(image: Plane, cavity: Plane, rng: np.random.Generator) -> NDArray[np.int16]:
    """What the scanner makes of it: cupping under bone, blur, noise, whole HU."""
    image = image + 4.0 * np.exp(-np.maximum(-cavity, 0) / 5.0) * inside(cavity, 1.4)
    fine = cv2.resize(image, (PIXELS, PIXELS), interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(fine, (0, 0), 0.55 / SPACING_MM)
    # More bone in the way, fewer photons, more noise.
    bone = float((fine > 300).mean())
    fine += NOISE_HU * (0.85 + 3.0 * bone) * detector_noise(rng, PIXELS, 1.1)
    return np.rint(np.clip(fine, -1024, 3071)).astype(np.int16)
