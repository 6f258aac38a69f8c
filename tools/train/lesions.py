"""Bleeds drawn into healthy slices, so that few patients teach more.

A lens against the inner skull (epidural, subdural) or a blob in the tissue (intraparenchymal) is
*added* to the picture, so that noise and anatomy show through as they do in a real bleed. Fresh
blood is 50 to 80 HU, grey matter about 37; a step of 0.1 in the brain window is 12 HU. A third kind
is darker than its surroundings (an old infarct) and counts as healthy.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_BONE = 0.97  # above about 96 HU in the brain window
_LEAST_BRAIN = 0.06  # share of the picture; less is the skull base or the vertex


@dataclass(frozen=True, slots=True)
class Lesion:
    """What was drawn.

    Parameters
    ----------
    image : ndarray of float32, shape (3, size, size)
        The three slices with the lesion.
    mask : ndarray of float32, shape (size, size)
        Where blood was added to the middle slice, 0..1; zero for the dark kind.
    bleeding : bool
        False for the dark kind.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.float32]
    bleeding: bool


def inside_skull(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where a ring of bone encloses tissue, shape (size, size); empty where none does."""
    bone = cv2.morphologyEx(
        (image >= _BONE).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)
    )
    count, labels, stats, _ = cv2.connectedComponentsWithStats(1 - bone, connectivity=4)
    border = set(np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])))
    found = np.zeros(image.shape, np.bool_)
    for label in range(count):
        area = stats[label, cv2.CC_STAT_AREA]
        region = labels == label
        if label in border or area < _LEAST_BRAIN * image.size or bone[region].any():
            continue
        if 0.2 < float(image[region].mean()) < 0.8:  # tissue, not air
            found |= region
    return found


def draw(slices: NDArray[np.float32], rng: np.random.Generator) -> Lesion | None:
    """Draw one lesion into three neighbouring slices; None where there is no brain to draw in.

    Parameters
    ----------
    slices : ndarray of float32, shape (3, size, size)
        Healthy slices, 0..1; not changed.
    rng : numpy.random.Generator
        Decides kind, place, size and brightness.
    """
    brain = [inside_skull(s) for s in slices]
    if not brain[1].any():
        return None
    size = slices.shape[-1]
    dark = rng.random() < 0.15
    extra_axial = not dark and rng.random() < 0.65
    region = brain[1].astype(np.uint8)
    if extra_axial:
        edge = np.argwhere(cv2.morphologyEx(region, cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0)
        centre = edge[rng.integers(len(edge))]
        middle = np.argwhere(region > 0).mean(axis=0)
        angle = np.degrees(np.arctan2(*(centre - middle))) + 90.0
        long, short = rng.uniform(0.06, 0.22) * size, rng.uniform(0.02, 0.075) * size
    else:
        within = np.argwhere(cv2.erode(region, np.ones((9, 9))) > 0)
        if len(within) == 0:
            return None
        centre = within[rng.integers(len(within))]
        angle = rng.uniform(0.0, 180.0)
        long = rng.uniform(0.025, 0.12) * size
        short = long * rng.uniform(0.4, 1.0)
    step = -rng.uniform(0.06, 0.2) if dark else rng.uniform(0.14, 0.4)
    softness = rng.uniform(0.5, 1.5)
    ragged = cv2.GaussianBlur(rng.normal(0.0, 1.0, (size, size)), (0, 0), rng.uniform(2, 6))
    ragged = ragged / (ragged.std() + 1e-6) * rng.uniform(0.0, 0.25)
    drawn = slices.copy()
    blood = np.zeros_like(slices[1])
    rows, columns = np.mgrid[:size, :size].astype(np.float64)
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    x, y = columns - centre[1], rows - centre[0]
    radius = np.hypot((x * cosine + y * sine) / long, (y * cosine - x * sine) / short)
    for i, grow in enumerate((rng.uniform(0.3, 1.1), 1.0, rng.uniform(0.3, 1.1))):
        mask = ((radius + ragged < grow) & brain[i]).astype(np.float32)
        soft = cv2.GaussianBlur(mask, (0, 0), softness) * brain[i]
        drawn[i] = np.clip(slices[i] + soft * step, 0.0, 1.0)
        if i == 1 and not dark:
            blood = soft
    return Lesion(drawn, blood, not dark)
