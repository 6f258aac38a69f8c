"""What more patients would bring: the learning curve of a model that is measured out of fold.

The course is run again on shares of each fold's patients, with as many steps as the whole course
has, and each network judges the patients of its fold. What the area under the curve lacks to 1 is
then taken to fall as a power of the number of patients (Hestness et al., arXiv:1712.00409), and
the line is followed to an aim. That is an extrapolation from few points: it says how much to
collect, not what will be reached.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from engines import Aggregate, calibrate
from tools.train import assess, courses, fit, reading
from tools.train.assess import Judged
from tools.train.examples import DataError, Examples, Rows, Split
from tools.train.measure import Floats, Interval, auc, bootstrap, platt
from tools.train.plan import Plan

Level: TypeAlias = Literal["slice", "study"]

_FILE = "curve.json"
_LEAST_POINTS = 3
_FURTHEST = 1e6  # patients; beyond it the line says "not in this way"


@dataclass(frozen=True, slots=True)
class Point:
    """Areas under the curve out of fold, of networks that learnt from so many patients each."""

    patients: int
    slice: Interval
    study: Interval


@dataclass(frozen=True, slots=True)
class Curve:
    """The points, fewest patients first, and how many patients an aim would take.

    Parameters
    ----------
    finding : str
        The first finding, which the curve is of.
    points : tuple of Point
    aims : tuple of (level, area, patients)
        The patients are None where the points do not rise, or the line meets the aim beyond a
        million.
    """

    finding: str
    points: tuple[Point, ...]
    aims: tuple[tuple[str, float, int | None], ...]


def measure(
    plan: Plan,
    folder: Path,
    runs: Path,
    shares: Sequence[float],
    aims: Sequence[tuple[Level, float]],
    *,
    say: Callable[[str], None],
) -> Curve:
    """Train on shares of the patients, measure each, and write the curve beside the checkpoints.

    Parameters
    ----------
    plan : Plan
        Of a model that is measured out of fold. Folds that are not trained yet are trained.
    folder, runs : Path
        The data, and where checkpoints are kept.
    shares : sequence of float
        Of each fold's patients, between 0 and 1; all of them are measured anyway.
    aims : sequence of (level, area)
        Where the line is followed to.
    say : callable
        Takes one line at a time.

    Raises
    ------
    DataError
        If the plan has no folds, or a share leaves too few patients.
    FitError
        If a checkpoint is of other settings.
    """
    if not plan.data.folds:
        raise DataError(f"{plan.file}: [data] folds is 0; a learning curve is measured over folds.")
    examples = reading.read(plan, folder)
    divided = reading.splits(plan, examples)
    points = []
    for share in [*sorted(shares), 1.0]:
        logits, patients = [], []
        for one in divided:
            rows = thinned(examples, one, share, seed=plan.seed)
            patients.append(len(set(examples.group[rows].tolist())))
            say(f"fold {one.number}: {patients[-1]} patients train")
            network = courses.train(
                examples,
                rows,
                _as_long(plan, share),
                keep=partial(_checkpoint, plan, runs, one, share),
                start=None,
                say=say,
            )
            logits.append(fit.logits(network, examples, one.test)[:, plan.shipped[0]])
        tested = np.concatenate([one.test for one in divided])
        point = _point(plan, examples, tested, np.concatenate(logits), round(np.mean(patients)))
        say(f"{point.patients} patients: slice {_told(point.slice)}, study {_told(point.study)}")
        points.append(point)
    ends = tuple(
        (level, aim, needed([(one.patients, getattr(one, level).value) for one in points], aim))
        for level, aim in aims
    )
    curve = Curve(plan.labels[plan.shipped[0]].label, tuple(points), ends)
    _file(plan, runs).write_text(json.dumps(asdict(curve), indent=2) + "\n", encoding="utf-8")
    return curve


def thinned(examples: Examples, fold: Split, share: float, *, seed: int) -> Rows:
    """Return the training rows of a share of the patients, ill and well alike.

    A larger share holds the patients of every smaller one.

    Raises
    ------
    DataError
        If no patient with the finding, or none without, would be left.
    """
    if share >= 1:
        return fold.train
    rng = np.random.default_rng(seed)
    names = np.unique(examples.group[fold.train])
    ill = {
        str(name)
        for name in names
        if (examples.truth[examples.group == name][:, 0] > 0.5).any()  # one of their slices
    }
    chosen: list[str] = []
    for kind in (sorted(ill), sorted(set(names.tolist()) - ill)):
        count = round(share * len(kind))
        if count == 0:
            raise DataError(f"A share of {share:g} leaves no patient of one kind to learn from.")
        chosen += [kind[i] for i in rng.permutation(len(kind))[:count]]
    rows: Rows = fold.train[np.isin(examples.group[fold.train], chosen)]
    return rows


def needed(points: Sequence[tuple[int, float]], aim: float) -> int | None:
    """Return how many patients a power law through the points would take to an area of `aim`.

    None where there are fewer than three points, they do not rise, or it is beyond a million.
    """
    if len(points) < _LEAST_POINTS:
        return None
    count = np.log([float(n) for n, _ in points])
    lacking = np.log([max(1 - area, 1e-4) for _, area in points])
    slope, start = np.polyfit(count, lacking, 1)
    if slope >= 0:
        return None
    reached = float((np.log(1 - aim) - start) / slope)
    return round(float(np.exp(reached))) if reached < np.log(_FURTHEST) else None


def kept(plan: Plan, runs: Path) -> Curve | None:
    """Return the curve that was measured beside these checkpoints, if there is one."""
    file = _file(plan, runs)
    if not file.is_file():
        return None
    held = json.loads(file.read_text(encoding="utf-8"))
    points = tuple(
        Point(one["patients"], Interval(**one["slice"]), Interval(**one["study"]))
        for one in held["points"]
    )
    aims = tuple((level, aim, count) for level, aim, count in held["aims"])
    return Curve(held["finding"], points, aims)


def words(curve: Curve) -> str:
    """Return the curve as a table and a sentence for each aim, for people."""
    rows = "\n".join(
        f"| {one.patients} | {_told(one.slice)} | {_told(one.study)} |" for one in curve.points
    )
    ends = " ".join(
        f"The line meets {aim:.2f} by {level} at about {count:,} patients."
        if count is not None
        else f"The line does not meet {aim:.2f} by {level}: these points do not rise enough."
        for level, aim, count in curve.aims
    )
    return (
        f"How {curve.finding.lower()} is told by networks that learnt from fewer patients, each "
        "with as many steps, out of fold (area under the curve, 95 %):\n\n"
        f"| patients each network learnt from | slice | study |\n|---|---|---|\n{rows}\n\n"
        f"{ends} That follows a power law through few points with wide intervals: it says how much "
        "to collect, not what will be reached."
    )


def _point(plan: Plan, examples: Examples, rows: Rows, logit: Floats, patients: int) -> Point:
    truth = examples.truth[rows, plan.shipped[0]] > 0.5
    judged = Judged(logit, truth, rows)
    a, b = platt(logit, truth)
    pooling = Aggregate(**plan.tables["aggregate"])
    score, ill = assess.studies(examples, judged, calibrate(logit, a, b), pooling)
    singles = [np.array([i]) for i in range(len(score))]
    return Point(
        patients,
        bootstrap(
            examples.groups(rows), lambda r: auc(logit[r], truth[r]), n=len(rows), seed=plan.seed
        ),
        bootstrap(singles, lambda r: auc(score[r], ill[r]), n=len(score), seed=plan.seed),
    )


def _as_long(plan: Plan, share: float) -> Plan:
    """Return the plan with as many more epochs as its epochs are shorter."""
    return replace(plan, course=replace(plan.course, epochs=round(plan.course.epochs / share)))


def _checkpoint(plan: Plan, runs: Path, fold: Split, share: float, member: int) -> Path:
    whole = courses.checkpoint(plan, runs, fold.number, member)
    return whole if share >= 1 else whole.with_stem(f"{whole.stem}-of-{round(100 * share)}")


def _file(plan: Plan, runs: Path) -> Path:
    return runs / plan.name / _FILE


def _told(area: Interval) -> str:
    return f"{area.value:.3f} ({area.low:.3f} to {area.high:.3f})"
