"""Two FLAIR studies of a drawn head: how they lie to each other and what changed is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.imaging.conform import Affine
from edge.imaging.volume import Volume

SHAPE = (128, 128, 40)
STEPS_MM = (1.5, 1.5, 4.0)
LESION_MM = np.array([30.0, 15.0, 8.0])
RADIUS_MM = 8.0


def rigid(turn_deg: float, shift_mm: tuple[float, float, float]) -> Affine:
    """Return a turn about the patient's axis and a shift, mm, RAS+."""
    angle = np.deg2rad(turn_deg)
    motion = np.eye(4)
    motion[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    motion[:3, 3] = shift_mm
    return motion


def draw_head(
    *, lesion: bool, motion: Affine | None = None, seed: int = 0, other: bool = False
) -> Volume:
    """Draw a head as FLAIR shows it, with noise of its own.

    Parameters
    ----------
    lesion : bool
        Whether a ball of 2.1 ml in the white matter is bright.
    motion : float64 (4, 4), optional
        From where a point of the head is drawn, to where the head lies in this study.
    seed : int
        Of the noise.
    other : bool
        Draw the head of somebody else.
    """
    affine = np.diag([*STEPS_MM, 1.0])
    affine[:3, 3] = [-(size - 1) / 2 * step for size, step in zip(SHAPE, STEPS_MM, strict=True)]
    places = np.indices(SHAPE).reshape(3, -1)
    points = affine @ np.vstack([places, np.ones(places.shape[1])])
    head = np.linalg.inv(np.eye(4) if motion is None else motion) @ points
    signal = _signal(head[:3], lesion=lesion, other=other).reshape(SHAPE)
    noise = np.random.default_rng(seed).normal(0, 18, SHAPE)
    return Volume(np.clip(signal + noise, 0, None).astype(np.float32), affine)


def _signal(at: NDArray[np.float64], *, lesion: bool, other: bool) -> NDArray[np.float64]:
    x, y, z = at
    if other:
        x, y, z = 1.2 * y, 0.8 * x, 0.9 * z
    out = np.sqrt((x / 72) ** 2 + (y / 88) ** 2 + (z / 70) ** 2)
    folds = 0.03 * np.sin(x / 9) * np.sin(y / 11 + 1) * np.cos(z / 17)
    signal = 30.0 * _within(out - 1, 70)  # scalp and skull
    signal += 290.0 * _within(out + folds - 0.88, 70)  # grey matter
    signal -= 40.0 * _within(out + folds - 0.76, 70)  # white matter
    sides = np.minimum(np.hypot((x - 14) / 9, (y + 4) / 26), np.hypot((x + 14) / 8, (y - 2) / 24))
    signal -= 220.0 * _within(np.hypot(sides, (z - 6) / 18) - 1, 12)  # ventricles
    away = np.sqrt(((at - LESION_MM[:, None]) ** 2).sum(axis=0))
    return signal + (200.0 * _within(away - RADIUS_MM, 1) if lesion else 0.0)


def _within(beyond: NDArray[np.float64], scale_mm: float) -> NDArray[np.float64]:
    """Return 1 inside and 0 outside: over four millimetres, as a slice has tissue of both sides."""
    return 0.5 - 0.5 * np.tanh(beyond * scale_mm / 2.5)
