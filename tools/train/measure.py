"""What a score is worth: calibration, threshold, area under the curve, intervals by patient.

Nothing here knows of networks or pictures. Intervals stand on *patients*, never on slices, because
the slices of one patient are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % bootstrap interval, and on how many it stands."""

    value: float
    low: float
    high: float
    n: int


def sigmoid(x: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)) without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)), np.float64)


def log_loss(probability: Floats, truth: Bools) -> float:
    """Return the mean negative log likelihood."""
    p = np.clip(probability, 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(truth, np.log(p), np.log(1 - p))))


def platt(logit: Floats, truth: Bools, *, ridge: float = 1e-3) -> tuple[float, float]:
    """Fit (a, b) so that sigmoid(a * logit + b) is a probability (Platt, 1999).

    The targets are smoothed as Platt does, so that perfectly parted classes stay finite.
    Newton's method with halved steps; `a` is held positive, because a calibration never reorders.

    Raises
    ------
    ValueError
        If only one class is present.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        raise ValueError("Platt scaling needs slices with and without the finding.")
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.stack([logit, np.ones_like(logit)], axis=1)

    def cost(w: Floats) -> float:
        z = design @ w
        return float(np.sum(np.logaddexp(0, z) - target * z) + 0.5 * ridge * (w[0] - 1) ** 2)

    weights = np.array([1.0, 0.0])
    for _ in range(100):
        p = sigmoid(design @ weights)
        gradient = design.T @ (p - target) + ridge * np.array([weights[0] - 1, 0.0])
        hessian = design.T @ (design * (p * (1 - p))[:, None]) + ridge * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-6 and cost(weights - size * step) > cost(weights):
            size /= 2
        weights = weights - size * step
        if float(np.abs(size * step).max()) < 1e-9:
            break
    return max(float(weights[0]), 1e-3), float(weights[1])


def auc(score: Floats, truth: Bools) -> float:
    """Return the area under the ROC curve; ties count half; NaN when a class is absent."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2.0
    total = float(rank[inverse][truth].sum())
    return (total - positives * (positives + 1) / 2) / (positives * negatives)


def wilson(hits: int, n: int) -> Interval:
    """Return a proportion with its 95 % score interval (Wilson, 1927)."""
    z = 1.959964
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    # The exact bound is 0 or 1 at the ends; rounding must not cross the value.
    return Interval(
        share, min(max(middle - half, 0.0), share), max(min(middle + half, 1.0), share), n
    )


def bootstrap(
    groups: list[NDArray[np.int64]],
    figure: Callable[[NDArray[np.int64]], float],
    *,
    n: int,
    seed: int,
    rounds: int = 2000,
) -> Interval:
    """Return a figure and its 95 % percentile interval, resampling whole groups.

    Parameters
    ----------
    groups : list of ndarray of int64
        For each patient, the rows that are theirs.
    figure : callable
        Takes rows (with repeats) and returns the figure, or NaN where it is not defined; draws
        that give NaN are left out.
    n : int
        How many units the figure counts (slices or studies); kept with the answer.
    seed, rounds : int
        Of the resampling.
    """
    rng = np.random.default_rng(seed)
    value = figure(np.concatenate(groups))
    draws = []
    for _ in range(rounds):
        chosen = rng.integers(len(groups), size=len(groups))
        draws.append(figure(np.concatenate([groups[i] for i in chosen])))
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Interval(value, float(low), float(high), n)


def study_threshold(score: Floats, truth: Bools, *, missed_costs: float = 2.0) -> float:
    """Choose the study threshold from few studies.

    Ten studies part at many thresholds alike. Each study's score is therefore smeared on the logit
    scale by a Gaussian kernel as wide as Silverman's rule says for that class, and the threshold
    is where the smooth expected cost is least: a missed bleed costs `missed_costs` false alarms.

    Parameters
    ----------
    score : ndarray of float64, shape (studies,)
        Study scores, 0..1, of patients the network was not trained on.
    truth : ndarray of bool, shape (studies,)
    """
    clipped = np.clip(score, 1e-4, 1 - 1e-4)
    logit = np.log(clipped / (1 - clipped))
    grid = np.linspace(logit.min() - 1, logit.max() + 1, 2001)

    def below(values: Floats) -> Floats:
        width = max(1.06 * float(values.std()) * len(values) ** -0.2, 0.3)
        z = (grid[:, None] - values[None, :]) / width
        # The logistic curve of scale 0.6 stands in for the normal distribution function.
        return np.asarray(sigmoid(z / 0.6).mean(axis=1), np.float64)

    cost = missed_costs * below(logit[truth]) + 1 - below(logit[~truth])
    return float(sigmoid(grid[[int(cost.argmin())]])[0])
