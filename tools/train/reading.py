"""Read a model's data by its layout, and divide them as its plan asks."""

from __future__ import annotations

from pathlib import Path

from tools.train import examples as division
from tools.train import folders, head_slices, looks, table
from tools.train.examples import Examples, Split
from tools.train.plan import Plan


def read(plan: Plan, folder: Path) -> Examples:
    """Read a data folder as the plan's layout says, and group it as the plan asks.

    Raises
    ------
    DataError
        If the folder is not laid out so.
    """
    found = _LAYOUTS[plan.data.layout](folder, plan)
    return found.grouped(looks.groups(found)) if plan.data.group == "look" else found


_LAYOUTS = {"folders": folders.read, "table": table.read, "head-ct": head_slices.read}


def splits(plan: Plan, examples: Examples) -> tuple[Split, ...]:
    """Return the one split, or all folds, of these examples.

    Raises
    ------
    DataError
        If there are too few patients.
    """
    if plan.data.folds:
        return division.folds(examples, count=plan.data.folds, seed=plan.seed)
    one = division.split(
        examples, calibration=plan.data.calibration, test=plan.data.test, seed=plan.seed
    )
    return (one,)
