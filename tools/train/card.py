"""Write `model.toml`, the model card and the check set of the head CT package.

The card and the file tell the same figures, because both are written from the same values.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tools.train.assess import AGGREGATE, Figure, Settled

NAME = "head-ct-hemorrhage"

_INTENDED_USE = (
    "Suggests which non-contrast head CT a physician should look at sooner, because it may show an "
    "intracranial hemorrhage. It is not a diagnosis, and silence does not mean that the study is "
    "normal."
)
_LICENCE = (
    "Apache-2.0 for the weights; the training images are CC-BY 4.0 "
    "(Hssayeni et al., Data 5(1):14, 2020, doi:10.13026/w8q8-ky94)"
)
_LIMITS = (
    "Trained, calibrated and measured on patients of one hospital (Al Hilla, Iraq), all scanned "
    "after a head injury; other hospitals, scanners and kernels were not measured.",
    "The pictures were 8-bit JPEG of one window (level 40, width 120 HU), not the scanner's own "
    "DICOM.",
    "Few patients: the intervals are wide, and calibration and threshold rest on {calibration} "
    "patients.",
    "More than half of the bleeding slices are epidural. Subarachnoid bleeding is rare in the "
    "data, and small or old bleeds may be missed.",
    "The table of the training data holds no age and no sex: performance by age or sex is unknown, "
    "children included.",
    "Slices were 5 mm, axial, without contrast. Contrast medium, clips, drains, tumours, "
    "calcification, motion and metal were not studied.",
    "It sees a slice and its two neighbours, at 160 x 160 pixels: a thin bleed can vanish.",
    "Never tested prospectively. Not a medical device; not for diagnosis.",
)
_BODY_PARTS = ("HEAD", "BRAIN", "SKULL", "HEADBRAIN", "NEUROCRANIUM", "CRANIUM")
_DESCRIPTION = (
    r"\b(head|brain|skull|crani\w*|cereb\w*|sch(ä|ae)del|kopf|cr(â|a)ne|t(ê|e)te"
    r"|cabeza|cr(á|a)neo)\b|رأس|الرأس|دماغ|الدماغ"
)


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the package says about itself.

    Parameters
    ----------
    version, digest : str
        Of the model.
    size : int
        Height and width of the input.
    parameters : int
        Weights in the network.
    train, calibration, test : tuple of int
        (patients, of them bleeding, slices, of them bleeding).
    seed : int
        Of the split and of the training.
    settled : Settled
        Calibration, threshold and band.
    figures : tuple of Figure
        What was measured on the test patients.
    """

    version: str
    digest: str
    size: int
    parameters: int
    train: tuple[int, int, int, int]
    calibration: tuple[int, int, int, int]
    test: tuple[int, int, int, int]
    seed: int
    settled: Settled
    figures: tuple[Figure, ...]


def write(facts: Facts, folder: Path) -> None:
    """Write `model.toml` and `CARD.md` into `folder`."""
    (folder / "model.toml").write_text(model_toml(facts), encoding="utf-8")
    (folder / "CARD.md").write_text(card(facts), encoding="utf-8")


def model_toml(facts: Facts) -> str:
    """Return the package's description, as `engines.load_package` reads it."""
    settled = facts.settled
    limits = "\n".join(_limits(facts))
    measured = "\n".join(_measured(figure) for figure in facts.figures)
    return f'''# Written by tools.train.head_ct; docs/models.md explains every key.

[model]
name = "{NAME}"
version = "{facts.version}"
sha256 = "{facts.digest}"
licence = {_quoted(_LICENCE)}
intended_use = {_quoted(_INTENDED_USE)}
limits = """
{limits}
"""
training_data = {_quoted(_training_data(facts))}

{measured}
[input]
tensor = "slices"
layout = "NCHW"
height = {facts.size}
width = {facts.size}
windows = [[40.0, 120.0]]
neighbours = 1

[[routes]]
modality = "CT"
body_parts = {json.dumps(_BODY_PARTS)}
description = '{_DESCRIPTION}'
max_slice_thickness_mm = 10

[[finding]]
code = {{ scheme = "SCT", value = "1386000", meaning = "Intracranial hemorrhage" }}
label = "Intracranial hemorrhage"
output = 0
calibration = [{settled.a}, {settled.b}]
threshold = {settled.threshold}
abstain = [{settled.band[0]}, {settled.band[1]}]
urgency = "critical"

[aggregate]
kind = "{AGGREGATE.kind}"
k = {AGGREGATE.k}

[checks]
parity_tolerance = 0.02
check_set = "check.npz"
'''


def card(facts: Facts) -> str:
    """Return the model card, for people."""
    settled = facts.settled
    rows = "\n".join(_row(figure) for figure in facts.figures)
    rows = rows or "| not measured yet | | | | |"
    limits = "\n".join(f"- {line}" for line in _limits(facts))
    sets = "\n".join(
        f"| {name} | {counts[0]} | {counts[1]} | {counts[2]} | {counts[3]} |"
        for name, counts in (
            ("train", facts.train),
            ("calibration", facts.calibration),
            ("test", facts.test),
        )
    )
    return f"""# {NAME} {facts.version}

{_INTENDED_USE}

## What it is

A small residual network ({facts.parameters:,} weights) looks at an axial slice and its two
neighbours in the brain window (level 40, width 120 HU), {facts.size} x {facts.size} pixels, and
gives one logit: is there any hemorrhage in the middle slice? The logit is pooled from a map of
evidence at an eighth of the resolution (tensor `evidence` inside the graph). A study's score is the
mean of its {AGGREGATE.k} highest slice probabilities; slices that are missing count as 0.

## Whom it has seen

{_training_data(facts)}

| set | patients | of them bleeding | slices | of them bleeding |
|---|---|---|---|---|
{sets}

The sets share no patient. The split follows from seed {facts.seed}. Training also used bleeds drawn
into healthy slices of the training patients (`tools/train/lesions.py`), whose place is known and
taught as well; calibration and test hold real ones only.

## What was measured

Measured once, on the test patients, with these weights. Areas under the curve have 95 % bootstrap
intervals by patient; proportions have 95 % Wilson intervals.

| figure | value | 95 % interval | n | of what |
|---|---|---|---|---|
{rows}

Calibration (a = {settled.a}, b = {settled.b}), threshold {settled.threshold} and abstain band
{settled.band[0]} to {settled.band[1]} come from the calibration patients alone. The threshold is
where a smoothed count of errors is least when a missed bleed costs two false alarms. The band is
how far the threshold moves when those patients are resampled (16th to 84th percentile).

## Limits

{limits}
- An age limit is not set in the route, because no age is known to be safe or unsafe.
- The calibration patients also chose the stopping point, so their own figures would flatter. Two
  designs of the network were compared on training and calibration patients before the test patients
  were measured; no choice was made after.

## Train it again

```
python -m tools.train.head_ct --data ../shared/data/head-ct --out engines/packages/{NAME}
```

The split is the same everywhere; the weights agree only in quality, because the order of sums
differs between machines.
"""


def _limits(facts: Facts) -> list[str]:
    lines = [line.format(calibration=facts.calibration[0]) for line in _LIMITS]
    counted = {figure.name: figure.interval for figure in facts.figures}
    if "study sensitivity" in counted and "study specificity" in counted:
        ill, well = counted["study sensitivity"], counted["study specificity"]
        missed, alarmed = (round(held.n * (1 - held.value)) for held in (ill, well))
        lines.insert(
            0,
            f"At the threshold it missed {missed} of {ill.n} bleeding test studies and flagged "
            f"{alarmed} of {well.n} without a bleed.",
        )
    return lines


def _training_data(facts: Facts) -> str:
    patients = facts.train[0] + facts.calibration[0] + facts.test[0]
    slices = facts.train[2] + facts.calibration[2] + facts.test[2]
    return (
        f"{patients} patients ({slices} axial slices of 5 mm) after head injury, Al Hilla Teaching "
        "Hospital, Iraq; labels by two radiologists in consensus. "
        f"{facts.train[0]} patients trained it, {facts.calibration[0]} calibrated it, "
        f"{facts.test[0]} were kept apart to measure it."
    )


def _measured(figure: Figure) -> str:
    interval = figure.interval
    return (
        "[[model.measured]]\n"
        f'figure = "{figure.name}"\n'
        f"value = {interval.value:.4f}\n"
        f"low = {interval.low:.4f}\n"
        f"high = {interval.high:.4f}\n"
        f"n = {interval.n}\n"
        f'on = "{figure.on}"\n'
    )


def _row(figure: Figure) -> str:
    interval = figure.interval
    # Rounded as in model.toml first, so that nobody reads two different figures.
    value, low, high = (round(x, 4) for x in (interval.value, interval.low, interval.high))
    shown = f"{value:.3f} | {low:.3f} to {high:.3f} | {interval.n}"
    return f"| {figure.name} | {shown} | {figure.on} |"


def _quoted(text: str) -> str:
    # A JSON string without escapes beyond ASCII control characters is a TOML basic string.
    return json.dumps(text, ensure_ascii=False)
