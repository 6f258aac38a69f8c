"""From a model's logits to one score for the study.

Every aggregate is monotone: it never falls when a slice is added or a slice's probability rises. So
the score of an unfinished study is a lower bound of its final score, and a provisional alert that
rests on it is safe to send.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.manifest import Aggregate


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
    return float(np.sort(values)[::-1][: spec.k].sum() / spec.k)
