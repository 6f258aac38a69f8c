"""A drawn FLAIR MRI of the brain, with a ring-shaped mass on request.

The same head as the CT phantom of the same seed, painted with FLAIR signal: fluid dark, grey
matter brighter than white, edema brightest. The mass has a dark core, a bright rim and a halo of
edema, and pushes the brain aside.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from tools.scanner.drawing import Place, Plane, Texture, ellipsoid, inside, paint
from tools.scanner.head_brain import Brain, Push
from tools.scanner.head_skull import PIXEL_MM, SIZE, Palette, Skull
from tools.scanner.series import Exam, Grid, Subject, mr_series

COVERAGE_MM = (-28.0, 112.0)
NOISE = 45.0
WINDOW = (1000, 2000)

FLAIR = Palette(
    air=0,
    fat=1900,
    skin=900,
    muscle=620,
    bone=40,
    marrow=420,
    petrous=60,
    csf=110,
    grey=1320,
    white=1000,
    deep=1220,
    dura=700,
    vessel=160,
    calcium=250,
    vitreous=90,
    lens=350,
)


@dataclass(frozen=True, slots=True)
class BrainMri:
    """Signal, uint16 of shape (slices, 256, 256); where the voxels are; what was drawn."""

    signal: NDArray[np.uint16]
    grid: Grid
    truth: dict[str, object]


def brain_mri_series(
    lesion: bool, slices: int = 28, seed: int = 0, *, when: datetime | None = None
) -> list[FileDataset]:
    """Return a FLAIR series; the same seed is the same person, every call a new study."""
    return as_series(draw_brain_mri(lesion, slices, seed), seed, when)


def as_series(mri: BrainMri, seed: int, when: datetime | None = None) -> list[FileDataset]:
    """Return the drawn volume as MR Image Storage instances."""
    number = f"{seed:04d}"
    return mr_series(
        mri.signal,
        Subject(f"Phantom^Brain {number}", f"PHANTOM-BRAIN-{number}", "FM"[seed % 2], 40),
        Exam("BRAIN", "MRI brain", "Axial FLAIR", when or datetime.now().astimezone()),
        mri.grid,
        WINDOW,
    )


def draw_brain_mri(lesion: bool, slices: int = 28, seed: int = 0) -> BrainMri:
    """Draw the volume; equal arguments give bit-equal voxels.

    Raises
    ------
    ValueError
        If `slices` is not 1 to 400.
    """
    if not 1 <= slices <= 400:
        raise ValueError(f"a brain MRI has 1 to 400 slices, not {slices}.")
    thickness = (COVERAGE_MM[1] - COVERAGE_MM[0]) / slices
    positions = tuple(COVERAGE_MM[0] + (i + 0.5) * thickness for i in range(slices))
    shape = np.random.default_rng([seed, 0])
    skull = Skull(shape)
    brain = Brain(shape, skull)
    mass = _Mass(np.random.default_rng([seed, 3]), skull)
    noise = np.random.default_rng([seed, 1])
    signal = np.empty((slices, SIZE, SIZE), dtype=np.uint16)
    volume_mm3 = 0.0
    for index, z in enumerate(positions):
        image, at = skull.draw(z, thickness, FLAIR)
        brain.draw(image, at, z, FLAIR, mass.push if lesion else None)
        if lesion:
            volume_mm3 += mass.paint(image, at, z) * thickness
        signal[index] = _receive(image, at, noise)
    truth: dict[str, object] = {"kind": "brain-mri", "seed": seed, "lesion": None}
    if lesion:
        truth["lesion"] = mass.truth(positions, volume_mm3 / 1000)
    return BrainMri(signal, Grid(PIXEL_MM, thickness, positions), truth)


class _Mass:
    """A ring-shaped mass in the white matter of one hemisphere."""

    def __init__(self, rng: np.random.Generator, skull: Skull) -> None:
        side = 1.0 if rng.random() < 0.5 else -1.0
        self._skull = skull
        self._centre = (side * rng.uniform(27, 34), rng.uniform(-24, 26), rng.uniform(58, 72))
        radius = rng.uniform(11, 16)
        self._semi = (radius, radius * rng.uniform(1.0, 1.3), radius * 0.95)
        self._rough, self._fingers = Texture(rng, 14.0), Texture(rng, 9.0)
        self.push = Push(self._centre, 46.0, 5.0)

    def paint(self, image: Plane, at: Place, z: float) -> float:
        """Paint the mass and its edema; return the area of the mass in mm2."""
        mass = ellipsoid(at, self._centre, self._semi) + 1.8 * self._rough.at(z, SIZE)
        brain_only = inside(self._skull.cavity(at) + 3.5, 3.0)
        fingers = np.clip(self._fingers.at(z, SIZE), -1.2, 1.2)
        halo = inside(mass - 8.0 + 5.0 * fingers, 5.0) * brain_only
        paint(image, np.maximum(image, 1750.0), halo)
        cover = inside(mass) * brain_only
        paint(image, 1650.0, cover)
        paint(image, 520.0, inside(mass + 4.0, 2.5) * brain_only)
        return float(cover.sum()) * PIXEL_MM**2

    def truth(self, positions: tuple[float, ...], volume_ml: float) -> dict[str, object]:
        x, y, z = self._skull.scanner_position(self._centre)
        return {
            "type": "ring-shaped mass with edema",
            "centre_mm": [round(x, 1), round(y, 1), round(z, 1)],
            "semi_axes_mm": [round(a, 1) for a in self._semi],
            "volume_ml": round(volume_ml, 1),
            "instances": [
                i for i, p in enumerate(positions, start=1) if abs(p - z) <= self._semi[2]
            ],
        }


def _receive(image: Plane, at: Place, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Blur, the coil's uneven sensitivity, and the noise of a magnitude image (Rician)."""
    coil = 1.0 + 0.12 * (at.y / 100) ** 2 + 0.05 * at.x / 100
    real = cv2.GaussianBlur(np.asarray(image * coil, np.float32), (0, 0), 0.5)
    real += NOISE * rng.standard_normal((SIZE, SIZE), dtype=np.float32)
    imaginary = NOISE * rng.standard_normal((SIZE, SIZE), dtype=np.float32)
    return np.asarray(np.rint(np.clip(np.hypot(real, imaginary), 0, 4095)), dtype=np.uint16)
