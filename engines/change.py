"""From a two-study model's scores to how much changed, and between which bounds.

What is one lesion is connected; what is smaller than the package allows is a speck and does not
count. The interval is of the threshold: the volume where only what stands out by more counts, and
the volume where what stands out by less does too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.manifest import VolumeSpec


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of something there is.

    Parameters
    ----------
    ml : float
        Millilitres.
    low, high : float
        With the strict and with the lax threshold of the package.
    """

    ml: float
    low: float
    high: float


def amount(
    spec: VolumeSpec, scores: NDArray[np.floating], spacing_mm: tuple[float, float, float]
) -> Amount:
    """Return how much of one thing there is, and between which bounds.

    Parameters
    ----------
    spec : VolumeSpec
        Of a two-study package: with `least_mm3` and `sweep`.
    scores : ndarray of float, shape (classes, depth, height, width)
        A model's output for one pair.
    spacing_mm : tuple of float
        Of the voxels, along depth, height and width.

    Raises
    ------
    ValueError
        If a score is not a finite number: a broken model must not read as "unchanged".
    """
    lead = _lead(spec, scores)
    strict, lax = spec.sweep
    voxel = float(np.prod(spacing_mm))
    found = [
        float(lesions(lead > margin, spec.least_mm3 / voxel).sum()) * voxel / 1000
        for margin in (0.0, strict, lax)
    ]
    return Amount(found[0], min(found), max(found))


def changed(
    spec: VolumeSpec, scores: NDArray[np.floating], spacing_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Return the voxels that `amount` counts, shape (depth, height, width)."""
    return lesions(_lead(spec, scores) > 0, spec.least_mm3 / float(np.prod(spacing_mm)))


def lesions(mask: NDArray[np.bool_], least: float) -> NDArray[np.bool_]:
    """Return what of a mask belongs to connected parts (26 neighbours) of `least` voxels or more.

    Parameters
    ----------
    mask : ndarray of bool, shape (depth, height, width)
    least : float
        Voxels.
    """
    import SimpleITK  # noqa: PLC0415  # large; only where studies are compared

    if not mask.any():
        return np.zeros(mask.shape, np.bool_)
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    parts = SimpleITK.GetArrayFromImage(SimpleITK.ConnectedComponent(image, True))
    sizes = np.bincount(parts.ravel())
    kept = sizes >= least
    kept[0] = False
    return np.asarray(kept[parts], np.bool_)


def _lead(spec: VolumeSpec, scores: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return by how much a class of the finding leads over every class that is not."""
    if not np.isfinite(scores).all():
        raise ValueError("A score is not a finite number, so its voxel has no class.")
    ours = np.isin(np.arange(len(scores)), spec.classes)
    return np.asarray(scores[ours].max(axis=0) - scores[~ours].max(axis=0), np.float32)
