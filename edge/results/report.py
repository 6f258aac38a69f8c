"""What a report in the PACS says of a study: plain values, from a decision. Pure.

It is kept, sealed, from the moment of the decision until the PACS has the objects that are made of
it, so it holds all that they say beside the patient and the study themselves: those are read from
the images when the objects are made (`edge.results.source`). An image is named by its id in the
journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

from edge.alerts.decision import (
    CONFLICT,
    DISCONTINUED,
    QUIET,
    UNREADABLE,
    ModelResult,
    SeriesFinding,
    SeriesResult,
    StudyDecision,
)
from edge.alerts.message import FollowUp, Progression
from engines import Code

# A study of more series than this is no study that a person reads as a list.
_SERIES, _LINES = 64, 48
_MISSING = frozenset({CONFLICT, DISCONTINUED, QUIET})


class Verdict(str, Enum):
    """What a model says of one thing that it looks for."""

    FLAGGED = "flagged"
    NOT_FLAGGED = "not_flagged"
    UNCERTAIN = "uncertain"
    NOT_RELIABLE = "not_reliable"


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """An image: its instance's id in the journal, and the frame in it, from 0."""

    instance: int
    frame: int


@dataclass(frozen=True, slots=True)
class ModelLine:
    """A model that looked, exactly. `digest` is the SHA-256 of its ONNX file, in hex."""

    name: str
    version: str
    digest: str
    precision: str
    engine: str


@dataclass(frozen=True, slots=True)
class FindingLine:
    """One coded statement with a probability.

    Parameters
    ----------
    code : Code
    label : str
    verdict : Verdict
    probability, threshold : float
        Calibrated, 0 to 1.
    series_uid : str
    image : ImagePlace or None
        The image that carries most of it.
    place : str
        Where it is seen, in words; empty where the model cannot tell.
    model : str
        The `ModelLine.name` that said so.
    """

    code: Code
    label: str
    verdict: Verdict
    probability: float
    threshold: float
    series_uid: str
    image: ImagePlace | None
    place: str
    model: str


@dataclass(frozen=True, slots=True)
class VolumeLine:
    """How large one thing is, in millilitres, with its bounds where the model gave them."""

    code: Code
    label: str
    verdict: Verdict
    ml: float
    bounds_ml: tuple[float, float] | None
    flag_below_ml: float | None
    flag_above_ml: float | None
    series_uid: str
    model: str


@dataclass(frozen=True, slots=True)
class SeriesLine:
    """A series as it came. `reason`: why no model looked at it; None where one did."""

    series_uid: str
    modality: str
    body_part: str
    instances: int
    first: int
    analysed: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """What is said of one study, once.

    Parameters
    ----------
    alert_id : str
        The alert that says the same.
    status : str
        ``final`` or ``retracted``.
    outcome : str
        flagged, not_flagged, uncertain or not_analysed.
    decided : str
        RFC 3339.
    reasons : tuple of str
        What was not analysed, and what is missing or odd about what was.
    quality : tuple of str
        Measured doubts about the images.
    change : str
        What changed since an earlier study; empty where nothing is known.
    complete : bool
        Whether every model that was asked looked at every image, as far as can be known.
    follow_up : FollowUp or None
        The next look that the hospital's own protocol has for what is flagged.
    """

    alert_id: str
    status: str
    outcome: str
    decided: str
    series: tuple[SeriesLine, ...]
    models: tuple[ModelLine, ...]
    findings: tuple[FindingLine, ...]
    volumes: tuple[VolumeLine, ...]
    reasons: tuple[str, ...]
    quality: tuple[str, ...]
    change: str
    complete: bool
    follow_up: FollowUp | None = None

    @property
    def flagged(self) -> tuple[FindingLine, ...]:
        """The findings that are."""
        return tuple(one for one in self.findings if one.verdict is Verdict.FLAGGED)

    @property
    def key_images(self) -> tuple[ImagePlace, ...]:
        """The images of what is flagged, each once, the likeliest first."""
        ranked = sorted(self.flagged, key=lambda one: one.probability, reverse=True)
        return tuple(dict.fromkeys(one.image for one in ranked if one.image is not None))

    @property
    def instances(self) -> tuple[int, ...]:
        """The instances that the objects refer to, by their ids, each once."""
        shown = [one.image for one in self.findings if one.image and _shown(one.verdict)]
        return tuple(
            dict.fromkeys((*(one.instance for one in shown), *(one.first for one in self.series)))
        )

    def says_the_same(self, other: Report) -> bool:
        """Whether another report of the study would tell its reader nothing else."""
        return self == replace(
            other, alert_id=self.alert_id, status=self.status, decided=self.decided
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, to be sealed."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Report:
        """Read what `as_json` gave."""
        look = value.get("follow_up")  # queued before there was such
        parts: dict[str, Any] = {
            "series": tuple(SeriesLine(**one) for one in value["series"]),
            "models": tuple(ModelLine(**one) for one in value["models"]),
            "findings": tuple(_finding_from(one) for one in value["findings"]),
            "volumes": tuple(_volume_from(one) for one in value["volumes"]),
            "reasons": tuple(value["reasons"]),
            "quality": tuple(value["quality"]),
            "follow_up": None if look is None else FollowUp(**look),
        }
        return cls(**{**value, **parts})


def report_of(
    decision: StudyDecision,
    *,
    alert_id: str,
    status: str,
    decided: str,
    first_instances: Mapping[str, int],
    engines: Mapping[str, tuple[str, str]],
    progression: Progression | None,
    follow_up: FollowUp | None,
) -> Report:
    """Return what a report says of a decision.

    Parameters
    ----------
    decision : StudyDecision
    alert_id, status, decided : str
        Of the alert.
    first_instances : mapping
        The id of an instance of each series, by Series Instance UID.
    engines : mapping
        (engine, precision) by package name.
    progression : Progression or None
        What changed since an earlier study.
    follow_up : FollowUp or None
        The next look, as in the alert.
    """
    # A dose report, or our own report that came back, is missed by nobody.
    images = [one for one in decision.series if one.is_image] or decision.series
    # What is flagged first, then what was analysed, as in the alert.
    series = sorted(images, key=_rank)
    looked = [(one.series_uid, model) for one in series for model in one.looked]
    packages = {model.package.name: model.package for _, model in looked}
    findings = [_finding(uid, model, said) for uid, model in looked for said in model.findings]
    volumes = [_volume(uid, model, at) for uid, model in looked for at in range(len(model.volumes))]
    return Report(
        alert_id=alert_id,
        status=status,
        outcome=decision.outcome,
        decided=decided,
        series=tuple(
            _series(one, first_instances[one.series_uid])
            for one in series[:_SERIES]
            if one.series_uid in first_instances
        ),
        models=tuple(
            ModelLine(name, package.version, package.digest, *reversed(engines[name]))
            for name, package in packages.items()
        ),
        findings=tuple(sorted(findings, key=_order)[:_LINES]),
        volumes=tuple(sorted(volumes, key=_order)[:_LINES]),
        reasons=(
            *_cut(series, len(findings), len(volumes)),
            *_first(decision.reasons, "reasons"),
        ),
        quality=_first(
            tuple(dict.fromkeys(flag.text for one in series for flag in one.quality)),
            "doubts about the images",
        ),
        change="" if progression is None else progression.text,
        complete=bool(looked) and not any(_partial(one) for one in series),
        follow_up=follow_up,
    )


def _first(texts: tuple[str, ...], what: str) -> tuple[str, ...]:
    """Return as many as one report holds, and how many more there are."""
    more = len(texts) - _LINES
    return (*texts[:_LINES], f"{more} more {what} are not listed.") if more > 0 else texts


def _cut(series: list[SeriesResult], findings: int, volumes: int) -> tuple[str, ...]:
    """Say what is too much for one report; nothing where all of it is there."""
    cut = []
    if len(series) > _SERIES:
        rest = series[_SERIES:]
        missed = sum(not one.analysed for one in rest)
        cut.append(f"{len(rest)} more series are not listed, {missed} of them NOT ANALYSED.")
    if findings > _LINES or volumes > _LINES:
        more = max(findings - _LINES, 0) + max(volumes - _LINES, 0)
        cut.append(f"{more} more statements of the models are not listed.")
    return tuple(cut)


def _partial(one: SeriesResult) -> bool:
    """Whether something of a series was not looked at, or may not have come."""
    return bool(one.reasons) or any(
        doubt in _MISSING or doubt.endswith(UNREADABLE) for doubt in one.doubts
    )


def _rank(one: SeriesResult) -> tuple[bool, bool]:
    return not any(said.flagged for said in one.stated), not one.analysed


def _order(line: FindingLine | VolumeLine) -> int:
    order = (Verdict.FLAGGED, Verdict.UNCERTAIN, Verdict.NOT_FLAGGED, Verdict.NOT_RELIABLE)
    return order.index(line.verdict)


def _shown(verdict: Verdict) -> bool:
    """Whether a report leads to the image: one that shows nothing is not pointed at."""
    return verdict in (Verdict.FLAGGED, Verdict.UNCERTAIN)


def _finding(series_uid: str, model: ModelResult, said: SeriesFinding) -> FindingLine:
    if not said.spec.reliable:
        verdict = Verdict.NOT_RELIABLE
    elif said.abstained:
        verdict = Verdict.UNCERTAIN
    else:
        verdict = Verdict.FLAGGED if said.flagged else Verdict.NOT_FLAGGED
    shown = said.key_slice if _shown(verdict) else None
    return FindingLine(
        code=said.spec.code,
        label=said.spec.label,
        verdict=verdict,
        probability=round(said.probability, 6),
        threshold=said.spec.threshold,
        series_uid=series_uid,
        image=None if shown is None else ImagePlace(*shown),
        place="" if said.spot is None else said.spot.text,
        model=model.package.name,
    )


def _volume(series_uid: str, model: ModelResult, at: int) -> VolumeLine:
    said = model.volumes[at]
    low_and_high = said.bounds_ml
    return VolumeLine(
        code=said.spec.code,
        label=said.spec.label,
        verdict=Verdict.FLAGGED if said.flagged else Verdict.NOT_FLAGGED,
        ml=round(said.ml, 3),
        bounds_ml=None if low_and_high is None else (low_and_high[0], low_and_high[1]),
        flag_below_ml=said.spec.flag_below_ml,
        flag_above_ml=said.spec.flag_above_ml,
        series_uid=series_uid,
        model=model.package.name,
    )


def _series(one: SeriesResult, first: int) -> SeriesLine:
    return SeriesLine(
        series_uid=one.series_uid,
        modality=one.modality,
        body_part=one.body_part,
        instances=one.instances,
        first=first,
        analysed=one.analysed,
        reason=one.reason,
    )


def _finding_from(value: dict[str, Any]) -> FindingLine:
    image = value["image"]
    parts = {
        "code": Code(**value["code"]),
        "verdict": Verdict(value["verdict"]),
        "image": None if image is None else ImagePlace(**image),
    }
    return FindingLine(**{**value, **parts})


def _volume_from(value: dict[str, Any]) -> VolumeLine:
    bounds = value["bounds_ml"]
    parts = {
        "code": Code(**value["code"]),
        "verdict": Verdict(value["verdict"]),
        "bounds_ml": None if bounds is None else tuple(bounds),
    }
    return VolumeLine(**{**value, **parts})
