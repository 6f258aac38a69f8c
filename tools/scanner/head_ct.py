"""A drawn head CT, with a bleed on request: anatomy, HU and noise of a routine head scan."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from tools.scanner.drawing import Plane, detector_noise, inside
from tools.scanner.head_bleed import Bleed, BleedKind, make_bleed
from tools.scanner.head_brain import Brain
from tools.scanner.head_skull import PIXEL_MM, WIDTH_MM, Palette, Skull
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
    lesion: bool,
    slices: int = 40,
    seed: int = 0,
    *,
    bleed: BleedKind = "intraparenchymal",
    when: datetime | None = None,
) -> list[FileDataset]:
    """Return a head CT series; the same seed is the same person, every call a new study.

    Parameters
    ----------
    lesion : bool
        Whether there is a bleed.
    slices : int
        1 to 400, over 160 mm.
    seed : int
        Which person.
    bleed : {"intraparenchymal", "epidural"}
        Which bleed, where there is one.
    when : datetime.datetime, optional
        When the study is said to have begun; now, if not given.

    Returns
    -------
    list of pydicom.dataset.FileDataset
        CT Image Storage, 512 x 512, foot to head.
    """
    return as_series(draw_head_ct(lesion, slices, seed, bleed=bleed), seed, when)


def as_series(head: HeadCt, seed: int, when: datetime | None = None) -> list[FileDataset]:
    """Return the drawn volume as CT Image Storage instances."""
    number = f"{seed:04d}"
    return ct_series(
        head.hu,
        Subject(f"Phantom^Head {number}", f"PHANTOM-HEAD-{number}", "FM"[seed % 2], 45 + seed % 40),
        Exam("HEAD", "CT head without contrast", "Axial", when or datetime.now().astimezone()),
        head.grid,
    )


def draw_head_ct(
    lesion: bool, slices: int = 40, seed: int = 0, *, bleed: BleedKind = "intraparenchymal"
) -> HeadCt:
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
    person = _Person(seed, bleed if lesion else None)
    noise = np.random.default_rng([seed, 1])
    hu = np.empty((slices, PIXELS, PIXELS), dtype=np.int16)
    blood_mm3 = 0.0
    for index, z in enumerate(positions):
        plane = person.plane(z, thickness)
        blood_mm3 += plane.blood_mm2 * thickness
        hu[index] = _scan(plane, noise)
    grid = Grid(SPACING_MM, thickness, positions)
    return HeadCt(hu, grid, person.truth(grid, blood_mm3 / 1000))


@dataclass(frozen=True, slots=True)
class _Plane:
    """One plane in HU, the distance to the skull's inside, and how much bone and blood it has."""

    image: Plane
    cavity: Plane
    bone: float
    blood_mm2: float


class _Person:
    """One head, and the bleed it may have."""

    def __init__(self, seed: int, kind: BleedKind | None) -> None:
        self._seed = seed
        shape = np.random.default_rng([seed, 0])
        self.skull = Skull(shape)
        self._brain = Brain(shape, self.skull)
        self._bleed: Bleed | None = None
        if kind is not None:
            rng = np.random.default_rng([seed, 2])
            self._bleed = make_bleed(kind, rng, self.skull, self._brain)

    def plane(self, z: float, thickness: float) -> _Plane:
        image, at = self.skull.draw(z, thickness, TISSUE_HU)
        bone = float((image > 300).mean())
        bleed = self._bleed
        self._brain.draw(image, at, z, TISSUE_HU, None if bleed is None else bleed.push)
        blood = 0.0 if bleed is None else float(bleed.draw(image, at, z).sum())
        return _Plane(image, self.skull.cavity(at), bone, blood * PIXEL_MM**2)

    def truth(self, grid: Grid, blood_ml: float) -> dict[str, object]:
        """Return what is in the volume, ready for JSON."""
        bleed = self._bleed
        if bleed is None:
            return {"kind": "head-ct", "seed": self._seed, "lesion": None}
        x, y, z = self.skull.scanner_position(bleed.centre_mm)
        shown = [
            number
            for number, position in enumerate(grid.positions_mm, start=1)
            if abs(position - z) <= bleed.semi_mm[2]
        ]
        lesion = {
            "type": bleed.name,
            "centre_mm": [round(x, 1), round(y, 1), round(z, 1)],
            "semi_axes_mm": [round(a, 1) for a in bleed.semi_mm],
            "mean_hu": round(bleed.hu, 1),
            "blood_ml": round(blood_ml, 1),
            "instances": shown,
        }
        return {"kind": "head-ct", "seed": self._seed, "lesion": lesion}


def _scan(plane: _Plane, rng: np.random.Generator) -> NDArray[np.int16]:
    """What the scanner makes of it: cupping under bone, blur, noise, whole HU."""
    under_bone = np.exp(-np.maximum(-plane.cavity, 0) / 5.0) * inside(plane.cavity, 1.4)
    image = np.asarray(plane.image + 4.0 * under_bone, dtype=np.float32)
    fine = cv2.resize(image, (PIXELS, PIXELS), interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(fine, (0, 0), 0.55 / SPACING_MM)
    # More bone in the way, fewer photons, more noise.
    fine += NOISE_HU * (0.85 + 3.0 * plane.bone) * detector_noise(rng, PIXELS, 1.1)
    return np.asarray(np.rint(np.clip(fine, -1024, 3071)), dtype=np.int16)
