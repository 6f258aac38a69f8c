"""Measure a package on a folder: on pictures that it has not seen, or by its answers out of fold.

A package of few patients was trained on all of them. What it ships with are the answers of networks
that had not seen the picture in question; on the folder that trained it these are measured again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from engines import FindingSpec, ModelPackage
from tools.train import assess, judge, reading
from tools.train.assess import Figure, Judged, Settled
from tools.train.examples import DataError, Examples, Rows
from tools.train.plan import Plan


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured.

    Parameters
    ----------
    package : ModelPackage
    pictures : int
        That measured.
    left_out : int
        That trained or calibrated it.
    out_of_fold : bool
        Whether the answers are those kept in the package, not the package's own.
    abstained : float or None
        Share of the pictures unlike what the model knows; None where it was not asked.
    figures : tuple of Figure
    errors : dict
        Expected calibration error by finding.
    """

    package: ModelPackage
    pictures: int
    left_out: int
    out_of_fold: bool
    abstained: float | None
    figures: tuple[Figure, ...]
    errors: dict[str, float]


def run(plan: Plan, package: ModelPackage, folder: Path, *, threads: int) -> Report:
    """Measure a package on whatever of a folder it was not trained or calibrated on.

    Where that is nothing, the answers out of fold that it ships with are measured.

    Raises
    ------
    DataError
        If the folder cannot be read, or the package has seen all of it and holds no answers.
    """
    # The package says what it eats; the plan may already be of its successor.
    examples = reading.read(replace(plan, input=package.input), folder)
    rows = judge.unseen(package, examples)
    if len(rows):
        answers = judge.ask(package, judge.batches(examples, rows), threads=threads)
        limit = np.inf if package.familiar is None else package.familiar.limit
        logits, abstained = answers.logits, float((answers.distance > limit).mean())
        left_out = len(examples) - len(rows)
    else:
        rows, logits = judge.out_of_fold(package, examples)
        abstained, left_out = None, len(examples) - len(rows)
        if not len(rows):
            raise DataError(
                f"{folder}: all {len(examples)} pictures trained or calibrated {package.name}, so "
                "there is nothing to measure it on. Give --data a folder of other patients; what "
                f"is known of these is in {package.path / 'CARD.md'}."
            )
    figures, errors = _figures(plan, package, examples, rows, logits)
    return Report(
        package, len(rows), left_out, abstained is None, abstained, tuple(figures), errors
    )


def _figures(
    plan: Plan, package: ModelPackage, examples: Examples, rows: Rows, logits: Any
) -> tuple[list[Figure], dict[str, float]]:
    figures: list[Figure] = []
    errors: dict[str, float] = {}
    for spec in package.findings:
        judged = _judged(plan, examples, rows, logits, spec)
        settled = Settled(*spec.calibration, spec.threshold, spec.abstain)
        found = assess.measure(
            examples, judged, spec.label, settled, package.aggregate, seed=plan.seed
        )
        if found:
            errors[spec.label] = assess.reliability(judged, settled)[1]
        figures += found
        figures += assess.subgroups(examples, judged, spec.label, seed=plan.seed)
    return figures, errors


def _judged(plan: Plan, examples: Examples, rows: Rows, logits: Any, spec: FindingSpec) -> Judged:
    truth = examples.truth[rows, plan.shipped[spec.output]]
    known = ~np.isnan(truth)
    return Judged(logits[known, spec.output], truth[known] > 0.5, rows[known])


def as_json(report: Report, folder: Path) -> dict[str, Any]:
    """Return the report as the file holds it: one row for a finding at a level."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for one in report.figures:
        row = rows.setdefault(
            (one.finding, one.level, one.group),
            {
                "finding": one.finding,
                "level": one.level,
                "group": one.group,
                "n_pos": one.positives,
                "n_neg": one.negatives,
            },
        )
        name = one.name.lower()
        row[name], row[f"{name}_low"] = one.interval.value, one.interval.low
        row[f"{name}_high"] = one.interval.high
        if one.level == "slice" and not one.group:
            row["calibration_error"] = report.errors[one.finding]
    return {
        "name": report.package.name,
        "version": report.package.version,
        "sha256": report.package.digest,
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "data": folder.name,
        "pictures": report.pictures,
        "left_out_as_seen": report.left_out,
        "answers": "out of fold" if report.out_of_fold else "of the package",
        "abstained_as_unfamiliar": report.abstained,
        "rows": list(rows.values()),
    }


def show(report: Report, say: Callable[[str], None]) -> None:
    """Print the report as a table."""
    if report.out_of_fold:
        say(
            f"All of these pictures trained the model. Measured are the answers that its package "
            f"keeps of {report.pictures}: each by a network that had not seen the patient."
        )
    elif report.left_out:
        say(
            f"{report.left_out} pictures left out: they trained or calibrated the model. "
            f"{report.pictures} are measured."
        )
    table = Table(title=f"{report.package.name} {report.package.version}")
    for heading in ("finding", "figure", "value", "95 % interval", "with", "without"):
        table.add_column(heading)
    for one in report.figures:
        name = f"{one.level} {one.name}" + (f", {one.group}" if one.group else "")
        # Rounded as the package keeps it first, so that nobody reads two different figures.
        value, low, high = (
            round(x, 4) for x in (one.interval.value, one.interval.low, one.interval.high)
        )
        table.add_row(
            one.finding,
            name,
            f"{value:.3f}",
            f"{low:.3f} to {high:.3f}",
            str(one.positives),
            str(one.negatives),
        )
    Console().print(table)
    if report.abstained is not None:
        say(f"{report.abstained:.1%} of the pictures do not look like what the model knows.")
    if not report.figures:
        say("No finding has five pictures with it and five without: there is nothing to measure.")


def write(report: Report, folder: Path, file: Path) -> None:
    """Write the report as JSON."""
    file.write_text(json.dumps(as_json(report, folder), indent=2) + "\n", encoding="utf-8")
