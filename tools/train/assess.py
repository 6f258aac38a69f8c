"""Settle calibration and threshold on some pictures, then measure on others.

The two steps take their rows from the caller and never look further, so that what the calibration
patients decided is what the test patients judge. Nothing here needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines import Aggregate, aggregate, calibrate
from tools.train.examples import Examples, Rows
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

_RESAMPLED = 200
_BINS = 10
_LEAST = 5  # fewer of a class give no figure worth printing


@dataclass(frozen=True, slots=True)
class Settled:
    """What the calibration patients decided for one finding.

    Parameters
    ----------
    a, b : float
        Platt calibration of a picture's logit.
    threshold : float
        On the study score.
    band : tuple of float
        The 16th and 84th percentile of the threshold when those patients are resampled: inside it
        other patients could have decided otherwise, so the product abstains.
    """

    a: float
    b: float
    threshold: float
    band: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure: of which finding, at which level, its name, and on how many.

    `level` is ``slice`` (single pictures) or ``study``; `group` is empty, or says which patients,
    such as ``sex F``.
    """

    finding: str
    level: str
    name: str
    interval: Interval
    positives: int
    negatives: int
    group: str = ""


@dataclass(frozen=True, slots=True)
class Bin:
    """One part of a reliability diagram: the mean prediction, the share that came true, of n."""

    predicted: float
    observed: float
    n: int


@dataclass(frozen=True, slots=True)
class Judged:
    """What a model said of the rows that measure one finding.

    Parameters
    ----------
    logit : ndarray of float64, shape (m,)
        Of rows whose truth is known.
    truth : ndarray of bool, shape (m,)
    rows : ndarray of int64, shape (m,)
    """

    logit: Floats
    truth: Bools
    rows: Rows

    @classmethod
    def of(cls, examples: Examples, rows: Rows, logits: Floats, column: int) -> Judged:
        """Take one column of the logits (m, labels) of `rows`, where its truth is known."""
        truth = examples.truth[rows, column]
        known = ~np.isnan(truth)
        return cls(logits[known, column], truth[known] > 0.5, rows[known])


def settle(
    examples: Examples, judged: Judged, pooling: Aggregate, *, missed_costs: float, seed: int
) -> Settled:
    """Fit calibration, threshold and abstain band on the pictures of the calibration patients.

    Raises
    ------
    ValueError
        If they do not hold both classes.
    """
    a, b = platt(judged.logit, judged.truth)
    # Six digits are what model.toml keeps; the threshold must fit what is kept.
    a, b = round(a, 6), round(b, 6)
    score, ill = studies(examples, judged, calibrate(judged.logit, a, b), pooling)
    threshold = study_threshold(score, ill, missed_costs=missed_costs)
    rng = np.random.default_rng(seed)
    moved = []
    for _ in range(_RESAMPLED):
        draw = rng.integers(len(score), size=len(score))
        if 0 < ill[draw].sum() < len(draw):
            moved.append(study_threshold(score[draw], ill[draw], missed_costs=missed_costs))
    low, high = np.percentile(moved, [16, 84])
    threshold = round(threshold, 4)
    return Settled(
        a,
        b,
        threshold,
        (round(min(float(low), threshold), 4), round(max(float(high), threshold), 4)),
    )


def measure(
    examples: Examples,
    judged: Judged,
    finding: str,
    settled: Settled,
    pooling: Aggregate,
    *,
    seed: int,
) -> tuple[Figure, ...]:
    """Measure one finding; an empty tuple where one class is all but absent.

    Areas have bootstrap intervals by patient. Sensitivity and specificity have Wilson intervals:
    a bootstrap of 8 right out of 8 would claim certainty.
    """
    logit, truth = judged.logit, judged.truth
    ill, well = int(truth.sum()), int((~truth).sum())
    if min(ill, well) < _LEAST:
        return ()
    groups = examples.groups(judged.rows)
    figures = [
        Figure(
            finding,
            "slice",
            "AUC",
            bootstrap(groups, lambda r: auc(logit[r], truth[r]), n=len(logit), seed=seed),
            ill,
            well,
        )
    ]
    score, positive = studies(examples, judged, calibrate(logit, settled.a, settled.b), pooling)
    ill, well = int(positive.sum()), int((~positive).sum())
    if min(ill, well) >= _LEAST:
        singles = [np.array([i]) for i in range(len(score))]
        if len(score) == len(logit):
            singles = groups  # each picture is a study; patients are still the units
        area = bootstrap(singles, lambda r: auc(score[r], positive[r]), n=len(score), seed=seed)
        alarmed = score >= settled.threshold
        inside = (score >= settled.band[0]) & (score < settled.band[1])
        figures += [
            Figure(finding, "study", name, interval, ill, well)
            for name, interval in (
                ("AUC", area),
                ("sensitivity", wilson(int(alarmed[positive].sum()), ill)),
                ("specificity", wilson(int((~alarmed)[~positive].sum()), well)),
                ("uncertain", wilson(int(inside.sum()), len(score))),
            )
        ]
    return tuple(figures)


def subgroups(examples: Examples, judged: Judged, finding: str, *, seed: int) -> tuple[Figure, ...]:
    """Return the area by sex and by age, where the data say them and both classes are there."""
    sex, age = examples.sex[judged.rows], examples.age[judged.rows]
    parts = {f"sex {one}": sex == one for one in ("F", "M")}
    for low, high in ((0, 18), (18, 45), (45, 65), (65, 150)):
        parts[f"age {low} to {high}"] = (age >= low) & (age < high)
    figures = []
    for name, chosen in parts.items():
        truth, logit = judged.truth[chosen], judged.logit[chosen]
        ill, well = int(truth.sum()), int((~truth).sum())
        if min(ill, well) < _LEAST:
            continue
        area = bootstrap(
            examples.groups(judged.rows[chosen]),
            lambda r, logit=logit, truth=truth: auc(logit[r], truth[r]),  # type: ignore[misc]
            n=len(truth),
            seed=seed,
            rounds=500,
        )
        figures.append(Figure(finding, "slice", "AUC", area, ill, well, name))
    return tuple(figures)


def reliability(judged: Judged, settled: Settled) -> tuple[tuple[Bin, ...], float]:
    """Return the reliability diagram and the expected calibration error (Naeini, AAAI 2015)."""
    probability = calibrate(judged.logit, settled.a, settled.b)
    place = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    bins = []
    for number in range(_BINS):
        inside = place == number
        if inside.any():
            bins.append(
                Bin(
                    float(probability[inside].mean()),
                    float(judged.truth[inside].mean()),
                    int(inside.sum()),
                )
            )
    total = sum(one.n for one in bins)
    error = sum(one.n * abs(one.predicted - one.observed) for one in bins) / max(total, 1)
    return tuple(bins), float(error)


def studies(
    examples: Examples, judged: Judged, probability: Floats, pooling: Aggregate
) -> tuple[Floats, Bools]:
    """Return each study's score, and whether any of its pictures has the finding."""
    parts = examples.studies(judged.rows)
    score = np.asarray([_pooled(pooling, probability[part]) for part in parts])
    return score, np.asarray([bool(judged.truth[part].any()) for part in parts])


def _pooled(pooling: Aggregate, probability: Floats) -> float:
    # A collection of single pictures holds no study of several: one picture stands for its score.
    return float(probability[0]) if len(probability) == 1 else aggregate(pooling, probability)
