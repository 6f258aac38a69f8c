"""What is said of a study, from what was found in its series. Pure: facts in, words out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge.alerts.topics import URGENCIES
from edge.imaging.quality.flags import Flag
from edge.imaging.spot import Spot
from engines import Code, FindingSpec, ModelPackage, VolumeSpec, aggregate

# A slice, by its instance's id in the journal and its frame.
SliceId = tuple[int, int]

CONFLICT = "An image came twice with the same UID and different content; the second was left out."
UNFAMILIAR = "The image does not look like what the model knows, so the model abstains."
DISCONTINUED = "The scanner reports that the examination was discontinued; images may be missing."
UNREADABLE = "images could not be read."  # after how many of how many
WRONG_ENTRY = (
    "The scanner reports that the wrong worklist entry was selected; the images may be of another "
    "patient."
)
QUIET = "No sign that the series was complete but silence; images may be missing."


@dataclass(frozen=True, slots=True)
class Value:
    """A figure that was said of a study, and whether it was flagged."""

    value: float
    flagged: bool


@dataclass(frozen=True, slots=True)
class SeriesFinding:
    """One finding in one series.

    Parameters
    ----------
    spec : FindingSpec
        What was looked for.
    probability : float
        Over all slices, calibrated.
    key_instance : int or None
        The instance that carries most of it, by its id in the journal.
    key_frame : int
        The frame of it; 0 but in a multi-frame instance.
    spot : Spot or None
        Where it is seen, if the model can tell.
    unfamiliar : bool
        Whether what speaks for it does not look like what the model knows.
    """

    spec: FindingSpec
    probability: float
    key_instance: int | None
    unfamiliar: bool = False
    key_frame: int = 0
    spot: Spot | None = None

    @property
    def key_slice(self) -> SliceId | None:
        """The slice that carries most of it."""
        return None if self.key_instance is None else (self.key_instance, self.key_frame)

    @property
    def abstained(self) -> bool:
        """Whether the model says nothing either way."""
        low, high = self.spec.abstain
        return self.unfamiliar or not self.spec.reliable or low <= self.probability < high

    @property
    def value(self) -> Value:
        """What is compared with other studies."""
        return Value(self.probability, self.flagged)

    @property
    def unit(self) -> str:
        """Of the value: a probability has none."""
        return "1"

    @property
    def flagged(self) -> bool:
        """Whether it deserves an alert."""
        return self.probability >= self.spec.threshold and not self.abstained


@dataclass(frozen=True, slots=True)
class SeriesVolume:
    """How large one thing is in one series, as a model that segments measured it.

    Parameters
    ----------
    spec : VolumeSpec
        What was measured.
    ml : float
        Millilitres.
    bounds_ml : tuple of float, or None
        (low, high), where a model that compares two studies gave them.
    """

    spec: VolumeSpec
    ml: float
    bounds_ml: tuple[float, float] | None = None

    @property
    def value(self) -> Value:
        """What is compared with other studies."""
        return Value(self.ml, self.flagged)

    @property
    def unit(self) -> str:
        """Of the value."""
        return "ml"

    @property
    def flagged(self) -> bool:
        """Whether it lies outside what the package allows, with all that it may be."""
        low, high = self.spec.flag_below_ml, self.spec.flag_above_ml
        least, most = self.bounds_ml or (self.ml, self.ml)
        return (low is not None and most < low) or (high is not None and least > high)


@dataclass(frozen=True, slots=True)
class Compared:
    """The earlier study that a series was compared with; `days` before it."""

    study_uid: str
    days: float


@dataclass(frozen=True, slots=True)
class ModelResult:
    """What one model says of one series.

    Parameters
    ----------
    package : ModelPackage
        The model.
    findings : tuple of SeriesFinding
        Empty when it did not look, or measured instead.
    volumes : tuple of SeriesVolume
        What a model that segments measured.
    reason : str or None
        Why it did not look; None when it did, or is looking.
    doubts : tuple of str
        What is missing or odd about what it looked at.
    inputs : tuple of (str, float)
        What is counted of the images: `edge.feedback.inputs`.
    compared : Compared or None
        The earlier study that a model of two studies compared the series with.
    """

    package: ModelPackage
    findings: tuple[SeriesFinding, ...] = ()
    volumes: tuple[SeriesVolume, ...] = ()
    reason: str | None = None
    doubts: tuple[str, ...] = ()
    inputs: tuple[tuple[str, float], ...] = ()
    compared: Compared | None = None

    @property
    def analysed(self) -> bool:
        """Whether it looked."""
        return bool(self.stated)

    @property
    def stated(self) -> tuple[SeriesFinding | SeriesVolume, ...]:
        """All that it said."""
        return (*self.findings, *self.volumes)


@dataclass(frozen=True, slots=True)
class SeriesResult:
    """A series as the alert tells of it.

    Parameters
    ----------
    series_uid, modality, body_part : str
        DICOM.
    acquired : str or None
        RFC 3339.
    instances : int
        Durably received.
    evidence : str or None
        What closed it; None while it is open.
    models : tuple of ModelResult
        Of each model that was asked; empty when there is none for it.
    reasons : tuple of str
        Why it was not analysed, or not by one of its models; empty when it was, or is being.
    is_image : bool
        Whether there was anything to look at: a dose report is not missed by anyone.
    doubts : tuple of str
        What is missing or odd about the part that was analysed.
    quality : tuple of Flag
        Measured doubts about the images themselves.
    """

    series_uid: str
    modality: str
    body_part: str
    acquired: str | None
    instances: int
    evidence: str | None
    models: tuple[ModelResult, ...]
    reasons: tuple[str, ...]
    is_image: bool
    doubts: tuple[str, ...]
    quality: tuple[Flag, ...] = ()

    @property
    def looked(self) -> tuple[ModelResult, ...]:
        """The models that looked at it."""
        return tuple(one for one in self.models if one.analysed)

    @property
    def analysed(self) -> bool:
        """Whether a model looked at it."""
        return bool(self.looked)

    @property
    def reason(self) -> str | None:
        """Why no model looked at it; None when one did, or is looking."""
        return None if self.analysed else "; ".join(self.reasons) or None

    @property
    def stated(self) -> tuple[SeriesFinding | SeriesVolume, ...]:
        """All that the models said of it."""
        return tuple(said for one in self.models for said in one.stated)


@dataclass(frozen=True, slots=True)
class StudyDecision:
    """What is said of a study at one moment. `complete`: every series is."""

    outcome: str
    urgency: str
    reasons: tuple[str, ...]
    series: tuple[SeriesResult, ...]
    complete: bool

    @property
    def flagged(self) -> tuple[str, ...]:
        """The codes that are flagged, each once, in order."""
        codes = (
            finding.spec.code.key
            for series in self.series
            for finding in series.stated
            if finding.flagged
        )
        return tuple(sorted(set(codes)))


def find(
    package: ModelPackage,
    scores: Mapping[SliceId, tuple[float, ...]],
    unfamiliar: Collection[SliceId] = (),
) -> tuple[SeriesFinding, ...]:
    """Return the findings of a series from the scores of its slices; none without slices.

    Slices that do not look like what the model knows never make a flag. Where they are the larger
    part, or where they alone would flag, the finding abstains: what they may show is not lost.
    """
    if not scores:
        return ()
    slices = list(scores)
    table = np.array([scores[slice_id] for slice_id in slices])  # (slices, findings)
    known = np.array([slice_id not in unfamiliar for slice_id in slices])
    foreign = 2 * np.count_nonzero(known) < len(slices)
    found = []
    for column, spec in enumerate(package.findings):
        values = table[:, column]
        everything = aggregate(package.aggregate, values)
        familiar = everything if foreign else aggregate(package.aggregate, values[known])
        key = slices[int(np.argmax(values if foreign else np.where(known, values, -1.0)))]
        found.append(
            SeriesFinding(
                spec,
                familiar,
                key_instance=key[0],
                unfamiliar=foreign or familiar < spec.threshold <= everything,
                key_frame=key[1],
            )
        )
    return tuple(found)


def key_of(package: ModelPackage, code: Code) -> str:
    """Return what names one figure across studies: the model, its version, and what it states."""
    return f"{package.name} {package.version} {code.key}"


def values_of(decision: StudyDecision) -> dict[str, Value]:
    """Return the figures of a study by `key_of`; of two series with the same one the higher."""
    values: dict[str, Value] = {}
    models = (one for series in decision.series for one in series.models)
    for one in models:
        for said in one.stated:
            key = key_of(one.package, said.spec.code)
            if key not in values or said.value.value > values[key].value:
                values[key] = said.value
    return values


def not_by(model: str, reason: str) -> str:
    """Return what is said where one of several models did not look at a series."""
    return f"Not analysed by {model}: {reason}"


def said_for(model: str, doubt: str) -> str:
    """Return what is said of one of several models' part of a series."""
    return f"For {model}: {doubt}"


def doubts_of(package: ModelPackage, slices: int, unfamiliar: int) -> list[str]:
    """Return what is to be said of a series about what its model cannot tell."""
    doubts = []
    if 2 * (slices - unfamiliar) < slices:
        doubts.append(UNFAMILIAR)
    elif unfamiliar:
        doubts.append(
            f"{unfamiliar} of {slices} images do not look like what the model knows; what they "
            "seem to show is not counted as found."
        )
    weak = [spec.label for spec in package.findings if not spec.reliable]
    if weak:
        doubts.append(f"Not reliable enough to flag: {', '.join(weak)}.")
    return doubts


def decide(series: Sequence[SeriesResult], *, complete: bool) -> StudyDecision:
    """Say what a study's series amount to.

    A flag in any series flags the study. "Not flagged" is said only when something was
    analysed, and what was not is in the reasons.
    """
    findings = [finding for one in series for model in one.models for finding in model.findings]
    stated = [said for one in series for said in one.stated]
    flagged = [said for said in stated if said.flagged]
    if flagged:
        outcome = "flagged"
    elif any(finding.abstained for finding in findings if finding.spec.reliable):
        outcome = "uncertain"
    elif stated:
        outcome = "not_flagged"
    else:
        outcome = "not_analysed"
    urgencies = [said.spec.urgency for said in flagged]
    reasons = [reason for one in series if one.is_image or not stated for reason in one.reasons]
    doubts = [doubt for one in series for doubt in one.doubts]
    return StudyDecision(
        outcome=outcome,
        urgency=min(urgencies, key=URGENCIES.index, default="routine"),
        reasons=tuple(dict.fromkeys([*reasons, *doubts])),
        series=tuple(series),
        complete=complete,
    )
