"""A drawn frontal chest X-ray, with a consolidation on request.

What is drawn is attenuation: each organ adds what it would take from the beam, and the image is
the logarithm of what is left, as a flat-panel detector shows it after processing. Millimetres at
the detector: x to the patient's left (the image's right), y to the feet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from tools.scanner.drawing import Plane, detector_noise, inside
from tools.scanner.series import Exam, Subject, dx_image

PIXELS = 1024
WIDTH_MM = 410.0
SPACING_MM = WIDTH_MM / PIXELS
WINDOW = (2048, 4096)


@dataclass(frozen=True, slots=True)
class ChestXray:
    """A drawn image, uint16 of shape (rows, columns) in 0..4095, and the truth about it."""

    pixels: NDArray[np.uint16]
    truth: dict[str, object]


def chest_xray_series(
    lesion: bool, seed: int = 0, *, when: datetime | None = None
) -> list[FileDataset]:
    """Return a study of one image; the same seed is the same person."""
    return as_series(draw_chest_xray(lesion, seed), seed, when)


def as_series(chest: ChestXray, seed: int, when: datetime | None = None) -> list[FileDataset]:
    """Return the drawn image as a DX instance for presentation."""
    number = f"{seed:04d}"
    image = dx_image(
        chest.pixels,
        Subject(f"Phantom^Chest {number}", f"PHANTOM-CHEST-{number}", "FM"[seed % 2], 50),
        Exam("CHEST", "Chest PA", "Chest PA", when or datetime.now().astimezone()),
        SPACING_MM,
        WINDOW,
    )
    return [image]


def draw_chest_xray(lesion: bool, seed: int = 0) -> ChestXray:
    raise NotImplementedError
