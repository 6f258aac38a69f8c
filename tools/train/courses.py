"""Which networks a model takes: one, or one for each fold and one more that ships."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from tools.train import fit, solve
from tools.train.examples import Examples, Rows, Split
from tools.train.network import Committee
from tools.train.plan import Plan
from tools.train.reading import read, splits


def checkpoint(plan: Plan, runs: Path, number: int, member: int = 1) -> Path:
    """Return the file of a member, from 1, of the network that ships (0) or of a fold (from 1)."""
    stem = "whole" if number == 0 else f"fold-{number}"
    return runs / plan.name / (f"{stem}.pt" if member == 1 else f"{stem}-member-{member}.pt")


def load(plan: Plan, runs: Path, number: int) -> Committee:
    """Return the network that ships (0) or of a fold (from 1), ready to judge.

    Raises
    ------
    FitError
        If one of its members is not trained to the end, or is of other settings.
    """
    files = [checkpoint(plan, runs, number, member) for member in members(plan)]
    return Committee([fit.load(file, plan) for file in files])


def members(plan: Plan) -> range:
    """Return the numbers of the networks whose evidence is averaged."""
    return range(1, plan.course.members + 1)


def train(
    examples: Examples,
    rows: Rows,
    plan: Plan,
    *,
    keep: Callable[[int], Path],
    start: Path | None,
    say: Callable[[str], None],
) -> Committee:
    """Train every member on these rows, each from a beginning of its own.

    Raises
    ------
    FitError
        If a checkpoint or `start` is of another configuration.
    """
    found = []
    for member in members(plan):
        if plan.course.members > 1:
            say(f"member {member} of {plan.course.members}")
        other = replace(plan, seed=plan.seed + member - 1)
        found.append(fit.train(examples, rows, other, keep=keep(member), start=start, say=say))
    return Committee(found)


def ungrouped(plan: Plan, runs: Path) -> Path:
    """Return the file of the network that is trained to show what groups are worth."""
    return runs / plan.name / "ungrouped.pt"


def run_ungrouped(plan: Plan, folder: Path, runs: Path, *, say: Callable[[str], None]) -> None:
    """Train once more on a split that ignores which pictures look alike; it never ships.

    Raises
    ------
    DataError
        If the data cannot be read or divided.
    FitError
        If the checkpoint is of other settings.
    """
    examples = read(plan, folder)
    alone = examples.grouped(examples.study)
    rows = splits(plan, alone)[0].train
    fit.train(alone, rows, plan, keep=ungrouped(plan, runs), start=None, say=say)


def run(
    plan: Plan, folder: Path, runs: Path, *, only: int | None, say: Callable[[str], None]
) -> None:
    """Train every network that the plan asks for, or one of them, going on where it stopped.

    Raises
    ------
    DataError
        If the data cannot be read or divided.
    FitError
        If a checkpoint is of other settings.
    """
    began = time.monotonic()
    examples = read(plan, folder)
    divided = splits(plan, examples)
    say(
        f"{plan.name}: {len(examples)} pictures of {len(set(examples.group.tolist()))} patients "
        f"or groups, read in {time.monotonic() - began:.0f} s"
    )
    whole = Split(0, np.arange(len(examples), dtype=np.int64), *(divided[0].calibration,) * 2)
    wanted = [*divided, whole] if plan.data.folds else list(divided)
    start = runs / plan.course.start / "whole.pt"
    for one in wanted:
        if only is not None and one.number != only:
            continue
        say(
            f"{'the network that ships' if one.number == 0 else f'fold {one.number}'}: "
            f"{len(one.train)} pictures train"
        )
        if plan.course.ridge:
            keep = checkpoint(plan, runs, one.number)
            solve.head(examples, one.train, plan, keep=keep, start=start)
            continue
        from_there = start if plan.course.start else None
        files = partial(checkpoint, plan, runs, one.number)
        train(examples, one.train, plan, keep=files, start=from_there, say=say)
