"""Settle calibration and threshold on some patients, then measure once on others.

The two steps take their rows from the caller and never look further, so that what the calibration
patients decided is what the test patients judge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines import Aggregate, aggregate, calibrate
from tools.train.data import Slices
from tools.train.measure import (
    Bools,
    Floats,
    Interval,
    auc,
    bootstrap,
    platt,
    study_threshold,
    wilson,
)

AGGREGATE = Aggregate("top_k_mean", 3)
_RESAMPLED = 500


@dataclass(frozen=True, slots=True)
class Settled:
    """What the calibration patients decided.

    Parameters
    ----------
    a, b : float
        Platt calibration of a slice's logit.
    threshold : float
        On the study score.
    band : tuple of float
        The 16th and 84th percentile of the threshold when those patients are resampled: inside it
        another ten patients could have decided otherwise, so the product abstains.
    """

    a: float
    b: float
    threshold: float
    band: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure: its name, its interval, and of what."""

    name: str
    interval: Interval
    on: str


@dataclass(frozen=True, slots=True)
class Studies:
    """Scores and truth by study, in the order of the patients' names."""

    score: Floats
    bleeding: Bools


def settle(slices: Slices, rows: NDArray[np.int64], logit: Floats, *, seed: int) -> Settled:
    """Fit calibration, threshold and abstain band on the slices of the calibration patients.

    Parameters
    ----------
    slices : Slices
        All slices.
    rows : ndarray of int64, shape (m,)
        Those of the calibration patients.
    logit : ndarray of float64, shape (m,)
        The network's logits for `rows`.
    seed : int
        Of the resampling.
    """
    a, b = platt(logit, slices.bleeding[rows])
    # Six digits are what model.toml keeps; the threshold must fit what is kept.
    a, b = round(a, 6), round(b, 6)
    held = studies(slices, rows, calibrate(logit, a, b))
    threshold = study_threshold(held.score, held.bleeding)
    rng = np.random.default_rng(seed)
    moved = []
    for _ in range(_RESAMPLED):
        draw = rng.integers(len(held.score), size=len(held.score))
        if 0 < held.bleeding[draw].sum() < len(draw):
            moved.append(study_threshold(held.score[draw], held.bleeding[draw]))
    low, high = np.percentile(moved, [16, 84])
    threshold = round(threshold, 4)
    band = (round(min(float(low), threshold), 4), round(max(float(high), threshold), 4))
    return Settled(a, b, threshold, band)


def measure(
    slices: Slices, rows: NDArray[np.int64], logit: Floats, settled: Settled, *, seed: int
) -> tuple[Figure, ...]:
    """Measure on the test patients, once.

    Areas have bootstrap intervals by patient. Sensitivity and specificity have Wilson intervals:
    patients are independent, and a bootstrap of 8 right out of 8 would claim certainty.
    """
    truth = slices.bleeding[rows]
    probability = calibrate(logit, settled.a, settled.b)
    patients = list(slices.studies(rows).values())
    found = studies(slices, rows, probability)
    alarmed = found.score >= settled.threshold
    whom = f"of {len(patients)} test patients"
    ill, well = found.bleeding, ~found.bleeding
    singles = [np.array([i]) for i in range(len(patients))]
    return (
        Figure(
            "slice AUC",
            bootstrap(patients, lambda r: auc(logit[r], truth[r]), n=len(rows), seed=seed),
            f"slices {whom}, {int(truth.sum())} with a hemorrhage",
        ),
        Figure(
            "study AUC",
            bootstrap(singles, lambda r: auc(found.score[r], ill[r]), n=len(patients), seed=seed),
            f"studies {whom}, {int(ill.sum())} with a hemorrhage",
        ),
        Figure(
            "study sensitivity",
            wilson(int(alarmed[ill].sum()), int(ill.sum())),
            f"studies with a hemorrhage {whom}, at the threshold",
        ),
        Figure(
            "study specificity",
            wilson(int((~alarmed)[well].sum()), int(well.sum())),
            f"studies without a hemorrhage {whom}, at the threshold",
        ),
        Figure(
            "abstained",
            wilson(
                int(((found.score >= settled.band[0]) & (found.score < settled.band[1])).sum()),
                len(patients),
            ),
            f"studies {whom}, inside the abstain band",
        ),
    )


def studies(slices: Slices, rows: NDArray[np.int64], probability: Floats) -> Studies:
    """Return each study's score and whether it holds a hemorrhage."""
    groups = slices.studies(rows).values()
    score = [aggregate(AGGREGATE, probability[group]) for group in groups]
    bleeding = [bool(slices.bleeding[rows[group]].any()) for group in groups]
    return Studies(np.asarray(score), np.asarray(bleeding))
