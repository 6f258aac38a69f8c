"""From a decision to the alert that tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from edge.alerts import message
from edge.alerts.decision import ModelResult, SeriesFinding, SeriesResult, StudyDecision
from edge.alerts.policy import Step
from edge.audit import Anchor
from edge.imaging.spot import Spot
from edge.timestamps import rfc3339

# Within the schema, and so that the longest of each together stay below `message.MAX_BODY`. What
# is beyond is left out: what is flagged comes first, then what was analysed.
_SERIES, _FINDINGS, _MODELS, _REASONS, _QUALITY = 64, 48, 16, 32, 24
_FARTHEST_MM = 10_000.0
_REASON_OF_STUDY, _REASON_OF_SERIES = 500, 160


@dataclass(frozen=True, slots=True)
class Names:
    """Which alert it is, and who speaks."""

    alert_id: str
    sequence: int
    device: str
    site: str


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What an alert says of a study beside what was decided.

    Parameters
    ----------
    study_uid, pseudonym : str
    identity : message.Identity or None
        Only where the site has chosen to send it.
    images : mapping
        SOP Instance UIDs by the ids of instances in the journal.
    engines : mapping
        (engine, precision) by package name.
    first_byte, last_byte : float
        Seconds since the epoch.
    inference_ms, tail_inference_ms : float
        In the engine: in all, and after the last byte.
    progression : message.Progression or None
        What changed since an earlier study.
    follow_up : message.FollowUp or None
        What the site's protocol has next.
    """

    study_uid: str
    pseudonym: str
    identity: message.Identity | None
    images: Mapping[int, str]
    engines: Mapping[str, tuple[str, str]]
    first_byte: float
    last_byte: float
    inference_ms: float
    tail_inference_ms: float
    progression: message.Progression | None = None
    follow_up: message.FollowUp | None = None


def compose(
    names: Names,
    step: Step,
    decision: StudyDecision,
    facts: StudyFacts,
    decided: datetime,
    audit: Anchor | None = None,
) -> message.Alert:
    """Return the alert for one step of one study; `audit` is the head of the device's audit."""
    now = datetime.now(timezone.utc)
    series = sorted(decision.series, key=_rank)
    looked = [(one.series_uid, model) for one in series for model in one.looked]
    findings = sorted(
        ((uid, model, finding) for uid, model in looked for finding in model.findings),
        key=lambda one: not one[2].flagged,
    )
    volumes = sorted(
        ((uid, model, volume) for uid, model in looked for volume in model.volumes),
        key=lambda one: not one[2].flagged,
    )
    used = {model.package.name: model.package for _, model in looked}
    return message.Alert(
        id=names.alert_id,
        sequence=names.sequence,
        device=names.device,
        site=names.site,
        created=rfc3339(now),
        status=step.status,
        supersedes=step.supersedes,
        urgency=step.urgency,
        outcome=decision.outcome,
        reasons=tuple(reason[:_REASON_OF_STUDY] for reason in decision.reasons[:_REASONS]),
        patient=message.Patient(facts.pseudonym, facts.identity),
        study=message.StudyRef(
            facts.study_uid,
            tuple(_series(one) for one in series[:_SERIES]),
            next((one.acquired for one in series if one.acquired), None),
        ),
        findings=tuple(
            _finding(uid, model, finding, facts.images)
            for uid, model, finding in findings[:_FINDINGS]
        ),
        model=tuple(
            message.ModelRef(name, package.version, package.digest, *reversed(facts.engines[name]))
            for name, package in list(used.items())[:_MODELS]
        ),
        quality=tuple(
            message.QualityFlag(flag.name, flag.value, flag.unit, flag.text)
            for flag in [flag for one in series for flag in one.quality][:_QUALITY]
        ),
        measurements=tuple(
            message.Measurement(
                message.Code(
                    volume.spec.code.scheme, volume.spec.code.value, volume.spec.code.meaning
                ),
                volume.spec.label,
                round(volume.ml, 3),
                volume.spec.flag_below_ml,
                volume.spec.flag_above_ml,
                volume.flagged,
                uid,
                model.package.name,
            )
            for uid, model, volume in volumes[:_FINDINGS]
        ),
        progression=facts.progression,
        follow_up=facts.follow_up,
        timing=message.Timing(
            first_byte=_moment(facts.first_byte),
            last_byte=_moment(facts.last_byte) if decision.complete else None,
            decided=rfc3339(decided),
            sealed=rfc3339(now),
            inference_ms=round(facts.inference_ms, 3),
            tail_inference_ms=round(facts.tail_inference_ms, 3),
        ),
        audit=None if audit is None else message.AuditHead(audit.entries, audit.digest),
    )


def identity_of(stored: Mapping[str, str]) -> message.Identity:
    """Return a patient's identity as the store kept it, no longer than an alert carries."""
    longest = {"patient_id": 128, "issuer": 128, "name": 400, "birth_date": 16, "sex": 16}
    return message.Identity(**{key: text[: longest.get(key, 64)] for key, text in stored.items()})


def _rank(one: SeriesResult) -> tuple[bool, bool, bool]:
    return not any(said.flagged for said in one.stated), not one.analysed, not one.is_image


def _code(text: str, longest: int) -> str:
    """Return a code string (PS3.5 VR CS) with anything that is no ASCII letter as ``?``."""
    return "".join(one if " " <= one <= "~" else "?" for one in text[:longest])


def _series(one: SeriesResult) -> message.SeriesRef:
    return message.SeriesRef(
        series_uid=one.series_uid,
        modality=_code(one.modality, 16),
        body_part=_code(one.body_part, 32),
        instances=one.instances,
        analysed=one.analysed,
        completed_by=one.evidence,
        reason=None if one.reason is None else one.reason[:_REASON_OF_SERIES],
    )


def _finding(
    series_uid: str, model: ModelResult, finding: SeriesFinding, images: Mapping[int, str]
) -> message.FindingResult:
    spec = finding.spec
    key = finding.key_instance
    return message.FindingResult(
        code=message.Code(spec.code.scheme, spec.code.value, spec.code.meaning),
        label=spec.label,
        probability=round(finding.probability, 6),
        threshold=spec.threshold,
        flagged=finding.flagged,
        abstained=finding.abstained,
        series_uid=series_uid,
        key_image_uid=None if key is None else images[key],
        location=_location(finding.spot),
        model=model.package.name,
    )


def _location(spot: Spot | None) -> message.Location | None:
    if spot is None:
        return None
    position = spot.position_mm
    # Beyond what a scanner can reach, a header is wrong; the words may still be right.
    reachable = position is not None and all(abs(one) <= _FARTHEST_MM for one in position)
    return message.Location(spot.text, position if reachable else None)


def _moment(seconds: float) -> str:
    return rfc3339(datetime.fromtimestamp(seconds, timezone.utc))
