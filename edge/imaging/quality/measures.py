"""What is measured of one image, so that a series can be judged. Pure.

Which measures apply follows from the modality and from what the image should show: a head may be
asked how it lies, a chest whether it looks like one. What does not apply is None.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import replace
from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.imaging.geometry import slice_normal
from edge.imaging.pixels import PADDING_HU, Slice, voi
from edge.imaging.quality.body import Body, find_body
from edge.imaging.quality.radiograph import compare_with_chest, spread, white
from edge.imaging.quality.sharpness import blur, edge_width_mm, ghosting, streaks
from edge.imaging.quality.slice_measures import SliceMeasures
from edge.imaging.quality.symmetry import mirror_axis_deg

Plane = NDArray[np.float32]


class Anatomy(Enum):
    """What an image should show, as far as the measures know a difference."""

    HEAD = "head"
    CHEST = "chest"


_HEAD = frozenset({"HEAD", "BRAIN", "SKULL", "HEADBRAIN", "NEUROCRANIUM", "CRANIUM"})
_PROJECTIONS = frozenset({"CR", "DX", "DR", "RG"})

_TISSUE_HU = -400.0  # half-way between air and soft tissue
_BRAIN_HU = (-20.0, 100.0)
_TISSUE_SHARE = 0.12  # of the bright end of an MR image; scalp in a FLAIR is dim
_MR_MM = 1.0
_MR_SIDE, _RADIOGRAPH_SIDE = 256, 512
_LEAST_HEAD_MM = 100.0
_AXIAL = 0.7  # of the normal along the body: less than 45 degrees off


def expected_anatomy(body_parts: Iterable[str]) -> Anatomy | None:
    """Return what images of these body parts (0018,0015) show; None where nothing is known."""
    parts = set(body_parts)
    if parts & _HEAD:
        return Anatomy.HEAD
    return Anatomy.CHEST if "CHEST" in parts else None


def measure(image: Slice, modality: str, anatomy: Anatomy | None) -> SliceMeasures:
    """Measure one image.

    Parameters
    ----------
    image : Slice
        From `edge.imaging.pixels.decode`.
    modality : str
        Modality (0008,0060).
    anatomy : Anatomy or None
        What it should show.
    """
    fingerprint = _fingerprint(image.pixels)
    height = image.position[2] if image.position else None
    if modality in _PROJECTIONS:
        return _radiograph(image, fingerprint, anatomy)
    tilt = _tilt(image)
    axial = tilt is not None and math.cos(math.radians(tilt)) > _AXIAL
    head = anatomy is Anatomy.HEAD and axial and image.spacing is not None
    placed = SliceMeasures(
        fingerprint,
        height,
        tilt,
        background=_background(image.pixels, modality) if anatomy is Anatomy.HEAD else None,
    )
    return (_ct if modality == "CT" else _mr)(image, placed, head=head)


def _fingerprint(pixels: Plane) -> int | None:
    if pixels.min() == pixels.max():
        return None
    # Every second row and column: a quarter of the time, and no two real slices agree there.
    return int.from_bytes(
        hashlib.blake2b(pixels[::2, ::2].tobytes(), digest_size=7).digest(), "big"
    )


def _tilt(image: Slice) -> float | None:
    if image.orientation is None:
        return None
    return math.degrees(math.acos(min(1.0, abs(slice_normal(image.orientation)[2]))))


def _ct(image: Slice, placed: SliceMeasures, *, head: bool) -> SliceMeasures:
    pixels, spacing = image.pixels, image.spacing
    if spacing is None:
        return placed
    body = find_body(pixels, spacing, above=_TISSUE_HU, padding=PADDING_HU)
    if body is None:
        return placed
    low, high = _BRAIN_HU
    inside = np.clip((pixels - np.float32(low)) / np.float32(high - low), 0, 1)
    return replace(
        placed,
        body_mm=body.diameter_mm,
        cut=body.cut if head else None,
        roll_deg=_roll(inside * (body.mask > 0), body, spacing) if head else None,
        edge_mm=edge_width_mm(pixels, body.mask, spacing),
        streaks_hu=streaks(pixels, body.mask, spacing) if head else None,
    )


def _mr(image: Slice, placed: SliceMeasures, *, head: bool) -> SliceMeasures:
    pixels, spacing = _sampled(image)
    bright = float(np.percentile(pixels, 98))
    body = find_body(pixels, spacing, above=_TISSUE_SHARE * bright) if bright > 0 else None
    if body is None:
        return placed
    inside = np.clip(pixels / np.float32(bright), 0, 1)
    return replace(
        placed,
        body_mm=body.diameter_mm if head else None,
        cut=body.cut if head else None,
        roll_deg=_roll(inside * (body.mask > 0), body, spacing) if head else None,
        ghosts=ghosting(pixels, body.mask, spacing) if head else None,
        blur=blur(pixels),
    )


def _radiograph(image: Slice, fingerprint: int | None, anatomy: Anatomy | None) -> SliceMeasures:
    if anatomy is not Anatomy.CHEST:
        return SliceMeasures(fingerprint)
    shown = voi(image)
    chest = compare_with_chest(shown)
    return SliceMeasures(
        fingerprint,
        blur=blur(_fitted(shown, _RADIOGRAPH_SIDE / max(shown.shape))),
        column=chest.column,
        likeness=chest.likeness,
        white=white(shown),
        spread=spread(shown),
    )


def _sampled(image: Slice) -> tuple[Plane, tuple[float, float]]:
    """Return an MR image with pixels of about 1 mm, where its own are finer."""
    spacing = image.spacing
    scale = min(1.0, max(spacing) / _MR_MM if spacing else _MR_SIDE / max(image.pixels.shape))
    pixels = _fitted(image.pixels, scale)
    if spacing is None:
        return pixels, (_MR_MM, _MR_MM)
    down = image.pixels.shape[0] / pixels.shape[0]
    across = image.pixels.shape[1] / pixels.shape[1]
    return pixels, (spacing[0] * down, spacing[1] * across)


def _fitted(pixels: Plane, scale: float) -> Plane:
    if scale >= 1:
        return pixels
    size = tuple(max(1, round(side * scale)) for side in reversed(pixels.shape))
    fitted: Plane = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return fitted


def _background(pixels: Plane, modality: str) -> float | None:
    """Return the median along the frame, where a head leaves room; in MR over the image's mean."""
    edge = max(2, min(pixels.shape) // 50)
    inner = pixels[edge:-edge, edge:-edge]
    frame = np.ones(pixels.shape, np.bool_)
    frame[edge : edge + inner.shape[0], edge : edge + inner.shape[1]] = False
    around = float(np.median(pixels[frame]))
    if modality == "CT":
        return around
    mean = float(pixels.mean())
    return around / mean if mean > 0 else None


def _roll(inside: Plane, body: Body, spacing: tuple[float, float]) -> float | None:
    if body.diameter_mm < _LEAST_HEAD_MM or abs(spacing[0] - spacing[1]) > 0.01 * spacing[0]:
        return None
    moments = cv2.moments(body.mask, binaryImage=True)
    centre = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
    radius = 0.58 * body.diameter_mm / spacing[0]
    turned, _ = mirror_axis_deg(inside, centre, radius)
    return turned
