"""Images of known quality: drawn heads and chests, whole and made worse."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.imaging.pixels import Slice
from edge.imaging.quality.flags import Stacked
from edge.imaging.quality.measures import Anatomy, measure
from edge.imaging.quality.slice_measures import SliceMeasures

Plane = NDArray[np.float32]
SIDE, MM = 256, 1.0
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def head(
    *, roll_deg: float = 0.0, shift: tuple[float, float] = (0, 0), scale: float = 1.0
) -> Plane:
    """Return a drawn axial head in HU: skin, skull, brain, and two ventricles of one size."""
    image = np.full((SIDE, SIDE), -1000.0, np.float32)
    centre = (SIDE / 2 + shift[0], SIDE / 2 + shift[1])
    for semi, hu in ((82, 40.0), (78, 900.0), (72, 35.0)):
        size = (2 * semi * scale, 2.5 * semi * scale)
        cv2.ellipse(image, (centre, size, roll_deg), hu, cv2.FILLED, cv2.LINE_AA)
    turn = np.radians(roll_deg)
    for side in (-1, 1):
        x = centre[0] + side * 18 * np.cos(turn) - 20 * np.sin(turn)
        y = centre[1] + side * 18 * np.sin(turn) + 20 * np.cos(turn)
        cv2.ellipse(image, ((x, y), (16, 44), roll_deg), 5.0, cv2.FILLED, cv2.LINE_AA)
    noise = np.random.default_rng(1).normal(0, 5, image.shape)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.6) + noise, np.float32)


def chest() -> Plane:
    """Return a drawn frontal chest radiograph, 0 to 1."""
    image = np.full((512, 512), 0.05, np.float32)
    cv2.ellipse(image, ((256, 300), (440, 620), 0), 0.7, cv2.FILLED, cv2.LINE_AA)
    for x in (150, 362):
        cv2.ellipse(image, ((x, 260), (130, 320), 0), 0.25, cv2.FILLED, cv2.LINE_AA)
        for y in range(130, 400, 34):
            cv2.line(image, (x - 60, y), (x + 60, y + 14), 0.4, 5, cv2.LINE_AA)
    cv2.rectangle(image, (238, 40), (274, 500), 0.85, cv2.FILLED)
    noise = np.random.default_rng(2).normal(0, 0.01, image.shape)
    return np.asarray(np.clip(image + noise, 0, 1), np.float32)


def ct(pixels: Plane, height_mm: float = 0.0, *, spacing: float = MM) -> SliceMeasures:
    """Measure an axial head CT slice."""
    image = Slice(
        height_mm, pixels, 0, (spacing, spacing), None, None, (0.0, 0.0, height_mm), AXIAL
    )
    return measure(image, "CT", Anatomy.HEAD)


def mr(pixels: Plane, height_mm: float = 0.0) -> SliceMeasures:
    """Measure an axial head MR slice."""
    image = Slice(height_mm, pixels, 0, (MM, MM), None, None, (0.0, 0.0, height_mm), AXIAL)
    return measure(image, "MR", Anatomy.HEAD)


def signal(hu: Plane) -> Plane:
    """Return a drawn head as an MR signal: air 0, tissue bright."""
    return np.asarray(np.clip((hu + 1000) / 1000, 0, 1.1) * 400, np.float32)


def stacked(modality: str, images: list[SliceMeasures], *, step_mm: float = 5.0) -> Stacked:
    """Return the images as a complete series of even steps."""
    return Stacked(modality, images, [step_mm * number for number in range(len(images))], True)
