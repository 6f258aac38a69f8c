"""Write `model.toml` and the model card of a package.

The card and the file tell the same figures, because both are written from the same values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.train.assess import Bin, Figure, Settled
from tools.train.plan import Label, Plan
from tools.train.unknown import Unknown, familiar, section


@dataclass(frozen=True, slots=True)
class Finding:
    """All that was settled and measured of one finding.

    Parameters
    ----------
    label : Label
        Its words.
    settled : Settled
        Calibration, threshold and band.
    figures, groups : tuple of Figure
        Of all test patients, and by sex and age.
    bins : tuple of Bin
        The reliability diagram.
    error : float
        Expected calibration error.
    reliable : bool
        Whether it may flag.
    peer : float or None
        Another network's area on the same pictures.
    """

    label: Label
    settled: Settled
    figures: tuple[Figure, ...]
    groups: tuple[Figure, ...]
    bins: tuple[Bin, ...]
    error: float
    reliable: bool
    peer: float | None


@dataclass(frozen=True, slots=True)
class Speed:
    """One pass over one picture on one core, in milliseconds (median)."""

    precision: str
    ms: float
    worst: float


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the package says about itself.

    Parameters
    ----------
    digest : str
        Of the model.
    parameters : int
        Weights in the network.
    sets : tuple of (name, pictures, groups)
        Who trained, calibrated and tested it.
    how : str
        How it was measured, in one paragraph.
    findings : tuple of Finding
        In the order of the outputs.
    unknown : Unknown or None
        Where it stops to judge; None of a package that is not taught that yet.
    speeds : tuple of Speed
        In fp32 and int8.
    machine : str
        On which the speeds were taken.
    extra : tuple of str
        Further paragraphs of the card.
    """

    digest: str
    parameters: int
    sets: tuple[tuple[str, int, int], ...]
    how: str
    findings: tuple[Finding, ...]
    unknown: Unknown | None
    speeds: tuple[Speed, ...]
    machine: str
    extra: tuple[str, ...]


def write(plan: Plan, facts: Facts, folder: Path) -> None:
    """Write `model.toml` and `CARD.md` into `folder`."""
    (folder / "model.toml").write_text(model_toml(plan, facts), encoding="utf-8")
    (folder / "CARD.md").write_text(card(plan, facts), encoding="utf-8")


def model_toml(plan: Plan, facts: Facts) -> str:
    """Return the package's description, as `engines.load_package` reads it."""
    spec = plan.input
    words = plan.words
    limits = "\n".join(_limits(plan, facts))
    scale = (
        f"windows = {json.dumps([list(one) for one in spec.windows])}"
        if spec.windows
        else f'normalise = "percentile"\npercentiles = {json.dumps(list(spec.percentiles or ()))}'
    )
    crop = "" if spec.crop_above is None else f"crop_above = {spec.crop_above:g}\n"
    measured = "\n".join(_measured(plan, one) for one in _told(plan, facts))
    findings = "\n".join(_finding(place, one) for place, one in enumerate(facts.findings))
    covers = plan.tables["coverage"]
    coverage = f"[coverage]\n{_keys(covers)}\n" if covers else ""
    known = "" if facts.unknown is None else familiar(facts.unknown)
    routes = "\n".join("[[routes]]\n" + _keys(route) for route in plan.tables["routes"])
    return f'''# Written by scanside-train; docs/models.md explains every key.

[model]
name = "{plan.name}"
version = "{plan.version}"
sha256 = "{facts.digest}"
licence = {_value(words.licence)}
intended_use = {_value(words.intended_use)}
limits = """
{limits}
"""
training_data = {_value(_training_data(plan, facts))}

{measured}
[input]
tensor = "{spec.tensor}"
layout = "NCHW"
height = {spec.height}
width = {spec.width}
{scale}
neighbours = {spec.neighbours}
fit = "{spec.fit}"
{crop}
{routes}
{findings}
[aggregate]
{_keys(plan.tables["aggregate"])}
{known}{coverage}[checks]
parity_tolerance = {plan.parity_tolerance:g}
check_set = "check.npz"
'''


def card(plan: Plan, facts: Facts) -> str:
    """Return the model card, for people."""
    words, spec = plan.words, plan.input
    rows = "\n".join(_row(plan, one) for one in _told(plan, facts))
    groups = "\n".join(_row(plan, one) for found in facts.findings for one in found.groups)
    limits = "\n".join(f"- {line}" for line in _limits(plan, facts))
    sets = "\n".join(f"| {name} | {count} | {whose} |" for name, count, whose in facts.sets)
    settled = "\n".join(_settled(found) for found in facts.findings)
    speeds = "\n".join(
        f"| {one.precision} | {one.ms:.1f} | {one.worst:.4f} |" for one in facts.speeds
    )
    unknown = "" if facts.unknown is None else section(facts.unknown)
    extra = "".join(f"\n{text}\n" for text in facts.extra)
    return f"""# {plan.name} {plan.version}

{words.title}. {words.intended_use}

## What it is

A small residual network ({facts.parameters:,} weights) looks at {spec.height} x {spec.width} pixels
and gives one logit a finding, each pooled from a map of evidence (tensor `evidence` inside the
graph). A second output, `distance`, says how unlike its training pictures a picture is.

## Whom it has seen

{_training_data(plan, facts)}

| set | pictures | patients or groups |
|---|---|---|
{sets}

{facts.how}

## What was measured

Areas under the curve have 95 % bootstrap intervals by patient or group; proportions have 95 %
Wilson intervals, at the threshold that ships.

| finding | figure | value | 95 % interval | with | without |
|---|---|---|---|---|---|
{rows}
{extra}
{_section("By sex and age", groups)}
## Calibration

| finding | a | b | threshold | abstain band | calibration error | may flag |
|---|---|---|---|---|---|---|
{settled}

A picture's probability is sigmoid(a x logit + b). The threshold is where a smoothed count of
errors is least when a missed finding costs {plan.missed_costs:g} false alarms; the band is how far
it moves when the patients who set it are resampled (16th to 84th percentile). The calibration
error is the mean distance of prediction and outcome (ECE, ten bins) on test pictures:

{_diagrams(facts)}
{unknown}
## Speed

| precision | ms a picture, one core | largest change of a probability |
|---|---|---|
{speeds}

Median of one pass in ONNX Runtime on {facts.machine}, as `scanside-train package` measured it; the
change is against fp32 on the check set.

## Limits

{limits}

## Train it again

```
scanside-train fit {plan.name} --data DIR
scanside-train package {plan.name} --data DIR
scanside-train eval {plan.name} --data DIR_OF_OTHER_PATIENTS --json FILE
```

The split is the same everywhere; the weights agree only in quality, because the order of sums
differs between machines.
"""


def _told(plan: Plan, facts: Facts) -> list[Figure]:
    """Return the figures to print; where each picture is a study, once and not twice."""
    figures = [one for found in facts.findings for one in found.figures]
    if plan.words.unit != "image":
        return figures
    return [one for one in figures if one.level == "study"]


def _section(title: str, rows: str) -> str:
    if not rows:
        return ""
    head = (
        "| finding | figure | value | 95 % interval | with | without |\n|---|---|---|---|---|---|"
    )
    return f"### {title}\n\n{head}\n{rows}\n\n"


def _limits(plan: Plan, facts: Facts) -> list[str]:
    lines = list(plan.words.limits)
    first = {one.name: one for one in facts.findings[0].figures if one.level == "study"}
    if "sensitivity" in first and "specificity" in first:
        ill, well = first["sensitivity"], first["specificity"]
        missed = round(ill.positives * (1 - ill.interval.value))
        alarmed = round(well.negatives * (1 - well.interval.value))
        name = facts.findings[0].label.label.lower()
        lines.insert(
            0,
            f"At the threshold it missed {missed} of {ill.positives} test {_units(plan)} with "
            f"{name} and flagged {alarmed} of {well.negatives} without.",
        )
    return lines


def _training_data(plan: Plan, facts: Facts) -> str:
    counted = "; ".join(f"{name}: {count}" for name, count, _ in facts.sets)
    return f"{plan.words.data} Pictures: {counted}."


def _units(plan: Plan) -> str:
    return {"image": "images", "study": "studies"}.get(plan.words.unit, plan.words.unit)


def _name(plan: Plan, figure: Figure) -> str:
    # Where a collection holds single images, "study" would claim what was not measured.
    level = "image" if plan.words.unit == "image" else figure.level
    return f"{level} {figure.name}" + (f", {figure.group}" if figure.group else "")


def _measured(plan: Plan, figure: Figure) -> str:
    interval = figure.interval
    return (
        "[[model.measured]]\n"
        f'figure = "{figure.finding}: {_name(plan, figure)}"\n'
        f"value = {interval.value:.4f}\n"
        f"low = {interval.low:.4f}\n"
        f"high = {interval.high:.4f}\n"
        f"n = {interval.n}\n"
        f'on = "{figure.positives} with and {figure.negatives} without, judged by networks '
        'that had not seen them"\n'
    )


def _row(plan: Plan, figure: Figure) -> str:
    interval = figure.interval
    # Rounded as in model.toml first, so that nobody reads two different figures.
    value, low, high = (round(x, 4) for x in (interval.value, interval.low, interval.high))
    return (
        f"| {figure.finding} | {_name(plan, figure)} | {value:.3f} | {low:.3f} to {high:.3f} | "
        f"{figure.positives} | {figure.negatives} |"
    )


def _settled(found: Finding) -> str:
    s = found.settled
    return (
        f"| {found.label.label} | {s.a} | {s.b} | {s.threshold} | {s.band[0]} to {s.band[1]} | "
        f"{found.error:.3f} | {'yes' if found.reliable else 'no'} |"
    )


def _diagrams(facts: Facts) -> str:
    lines = ["| finding | predicted | came true | pictures |", "|---|---|---|---|"]
    for found in facts.findings:
        lines += [
            f"| {found.label.label} | {one.predicted:.2f} | {one.observed:.2f} | {one.n} |"
            for one in found.bins
        ]
    return "\n".join(lines) + "\n"


def _finding(place: int, found: Finding) -> str:
    label, settled = found.label, found.settled
    weak = "" if found.reliable else "reliable = false\n"
    return (
        "[[finding]]\n"
        f"code = {{ scheme = {_value(label.scheme)}, value = {_value(label.value)}, "
        f"meaning = {_value(label.meaning)} }}\n"
        f"label = {_value(label.label)}\n"
        f"output = {place}\n"
        f"calibration = [{settled.a}, {settled.b}]\n"
        f"threshold = {settled.threshold}\n"
        f"abstain = [{settled.band[0]}, {settled.band[1]}]\n"
        f'urgency = "{label.urgency}"\n{weak}'
    )


def _keys(table: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {_value(value)}\n" for key, value in table.items())


def _value(value: str | float | Sequence[Any]) -> str:
    """Return TOML of a text, a number, or a list of such."""
    if isinstance(value, str):
        # A JSON string without escapes beyond ASCII control characters is a TOML basic string.
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    return "[" + ", ".join(_value(item) for item in value) + "]"
