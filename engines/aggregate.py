"""From a model's logits to one score for the study, or to the volume of what it outlined.

Every aggregate of slices is monotone: it never falls when a slice is added or a slice's probability
rises. So the score of an unfinished study is a lower bound of its final score, and a provisional
alert that rests on it is safe to send.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.manifest import Aggregate, VolumeSpec


def calibrate(logit: NDArray[np.floating], a: float, b: float) -> NDArray[np.float64]:
    """Return probabilities ``sigmoid(a * logit + b)``, the same shape as `logit`.

    Raises
    ------
    ValueError
        If a logit is not a finite number: a broken model must not read as "normal".
    """
    if not np.isfinite(logit).all():
        raise ValueError("A logit is not a finite number, so it has no probability.")
    # tanh cannot overflow, exp can.
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * (a * logit.astype(np.float64) + b))))


def aggregate(spec: Aggregate, probabilities: NDArray[np.floating]) -> float:
    """Return the study score of its slices.

    Parameters
    ----------
    spec : Aggregate
        ``max``: the largest. ``noisy_or``: the probability that at least one slice is positive if
        slices were independent, ``1 - prod(1 - p)``. ``top_k_mean``: the mean of the k largest,
        where slices that are missing count as 0.
    probabilities : ndarray of float, shape (n_slices,)
        In any order; empty for a study without an analysed slice, whose score is 0.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ValueError
        If the shape is not one-dimensional or a value is not within 0..1.
    """
    values = np.asarray(probabilities, np.float64)
    if values.ndim != 1:
        raise ValueError(f"Probabilities have shape {values.shape}; expected one dimension.")
    if values.size == 0:
        return 0.0
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise ValueError("A probability is not a number from 0 to 1.")
    if spec.kind == "max":
        return float(values.max())
    if spec.kind == "noisy_or":
        return float(1.0 - np.prod(1.0 - values))
    if spec.kind == "class_volume":
        raise ValueError("A segmentation has volumes, not a score: see segment and volume_ml.")
    return float(np.sort(values)[::-1][: spec.k].sum() / spec.k)


def segment(scores: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Return the class of every voxel: the one with the highest score, the first of equals.

    Parameters
    ----------
    scores : ndarray of float, shape (classes, depth, height, width)
        A segmentation's output for one volume.

    Returns
    -------
    ndarray of uint16, shape (depth, height, width)

    Raises
    ------
    ValueError
        If the shape is another, or a score is not a finite number.
    """
    if scores.ndim != 4 or not 1 <= scores.shape[0] <= np.iinfo(np.uint16).max:
        raise ValueError(
            f"Scores have shape {scores.shape}; expected (classes, depth, height, width)."
        )
    classes = np.empty(scores.shape[1:], np.uint16)
    # Slice by slice: argmax counts in 64 bits, which for a whole volume is more than the volume.
    for place in range(scores.shape[1]):
        plane = scores[:, place]
        if not np.isfinite(plane).all():
            raise ValueError("A score is not a finite number, so its voxel has no class.")
        classes[place] = plane.argmax(axis=0)
    return classes


def volume_ml(
    spec: VolumeSpec, classes: NDArray[np.integer], spacing_mm: tuple[float, float, float]
) -> float:
    """Return how large something is in a segmented volume.

    Parameters
    ----------
    spec : VolumeSpec
        Which classes it is made of.
    classes : ndarray of int, shape (depth, height, width)
        From `segment`.
    spacing_mm : tuple of float
        Of the voxels, along depth, height and width.

    Returns
    -------
    float
        Millilitres: voxels times their size, 1000 cubic millimetres to one.
    """
    voxels = np.count_nonzero(np.isin(classes, spec.classes))
    return float(voxels * np.prod(spacing_mm) / 1000.0)
