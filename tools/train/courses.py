"""Which networks a model takes: one, or one for each fold and one more that ships."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tools.train import fit, solve
from tools.train.examples import Split
from tools.train.plan import Plan
from tools.train.reading import read, splits


def checkpoint(plan: Plan, runs: Path, number: int) -> Path:
    """Return the file of the network that ships (0) or of a fold (from 1)."""
    return runs / plan.name / ("whole.pt" if number == 0 else f"fold-{number}.pt")


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
        keep = checkpoint(plan, runs, one.number)
        if plan.course.ridge:
            solve.head(examples, one.train, plan, keep=keep, start=start)
            continue
        from_there = start if plan.course.start else None
        fit.train(examples, one.train, plan, keep=keep, start=from_there, say=say)
