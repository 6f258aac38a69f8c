"""The alert: what a central server learns of one study.

The dataclasses are the body that is sealed; `alert.schema.json` is the same in the
language of JSON Schema (draft 2020-12) for receivers written in anything. A body is
canonical: sorted keys, no spaces, UTF-8, so that the same alert is the same bytes.

A wire type is written out here and not shared with the rooms that fill it: what
receivers depend on must not change because a class elsewhere did.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import uuid_utils

from edge.alerts.canonical import MAX_BODY, canonical, check, plain, validator
from edge.alerts.schema import MessageError
from edge.timestamps import parse_rfc3339

__all__ = [
    "MAX_BODY",
    "NOTICE",
    "OUTCOMES",
    "SCHEMA_VERSION",
    "STATUSES",
    "Alert",
    "AuditHead",
    "Code",
    "FindingResult",
    "FollowUp",
    "Identity",
    "Location",
    "MessageError",
    "ModelRef",
    "Patient",
    "Progression",
    "QualityFlag",
    "SeriesRef",
    "StudyRef",
    "Timing",
    "new_id",
    "validator",
]

SCHEMA_VERSION = 1
STATUSES = ("provisional", "final", "retracted")
OUTCOMES = ("flagged", "not_flagged", "uncertain", "not_analysed")

NOTICE = (
    "This is a suggestion to look sooner, not a diagnosis. "
    "A physician decides. A silent Scanside never means normal."
)


@dataclass(frozen=True)
class Code:
    """A coded concept (DICOM PS3.3 section 8): scheme ``SCT``, ``RADLEX``, value, meaning."""

    scheme: str
    value: str
    meaning: str

    @property
    def key(self) -> str:
        """As `engines.Code.key`; who reads alerts needs no engines."""
        return f"{self.scheme}:{self.value}"


@dataclass(frozen=True)
class Identity:
    """Who the patient is. Only if configured, and only ever inside the seal.

    Parameters
    ----------
    patient_id, issuer, name, birth_date, sex, accession : str
        DICOM (0010,0020), (0010,0021), (0010,0010), (0010,0030), (0010,0040),
        (0008,0050); empty where unknown.
    """

    patient_id: str
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""
    accession: str = ""


@dataclass(frozen=True)
class Patient:
    """The patient by keyed pseudonym (`edge.keys.pseudonym`); identity where configured."""

    pseudonym: str
    identity: Identity | None = None


@dataclass(frozen=True)
class SeriesRef:
    """One series of the study.

    Parameters
    ----------
    series_uid, modality, body_part : str
        DICOM (0020,000E), (0008,0060), (0018,0015); body part empty where unknown.
    instances : int
        Instances durably received when the alert was decided.
    analysed : bool
        Whether a model looked at it.
    completed_by : str or None
        The evidence that closed it; None while it is open.
    reason : str or None
        Why it was not analysed; None when it was.
    """

    series_uid: str
    modality: str
    body_part: str
    instances: int
    analysed: bool
    completed_by: str | None
    reason: str | None


@dataclass(frozen=True)
class StudyRef:
    """The study: its UID, its series, and when it was acquired if the scanner said.

    `acquired` is ISO 8601, with a zone only where the scanner gave one.
    """

    study_uid: str
    series: tuple[SeriesRef, ...]
    acquired: str | None


@dataclass(frozen=True)
class Location:
    """Where a finding is: words, and patient coordinates (mm, LPS; PS3.3 C.7.6.2.1.1)."""

    text: str
    position_mm: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class FindingResult:
    """One coded statement with a probability.

    Parameters
    ----------
    code, label : Code, str
        What was looked for, coded and in words.
    probability, threshold : float
        Calibrated, 0 to 1; flagged from the threshold on.
    flagged, abstained : bool
        Abstained: inside the band where the model says nothing either way.
    series_uid, key_image_uid : str
        The series, and the SOP Instance UID that carries most of it (None if none does).
    location : Location or None
    model : str
        The `ModelRef.name` that said so.
    """

    code: Code
    label: str
    probability: float
    threshold: float
    flagged: bool
    abstained: bool
    series_uid: str
    key_image_uid: str | None
    location: Location | None
    model: str


@dataclass(frozen=True)
class Measurement:
    """How large one thing is, in millilitres; flagged below or above what its package says."""

    code: Code
    label: str
    value: float
    flag_below: float | None
    flag_above: float | None
    flagged: bool
    series_uid: str
    model: str
    unit: str = "ml"


@dataclass(frozen=True)
class ModelRef:
    """Which model ran, exactly: digest is the SHA-256 of its ONNX file, in hex."""

    name: str
    version: str
    digest: str
    precision: str
    engine: str


@dataclass(frozen=True)
class QualityFlag:
    """One measured doubt about the images themselves, with a text for the technician."""

    name: str
    value: float | None
    unit: str
    text: str


@dataclass(frozen=True)
class Progression:
    """Change since an earlier study of the same patient.

    `change` is one of new, larger, smaller, unchanged, resolved; `value` in `unit`.
    """

    prior_study_uid: str
    interval_days: float
    change: str
    value: float | None
    unit: str
    text: str


@dataclass(frozen=True)
class FollowUp:
    """A suggested next look, and the guideline it comes from."""

    within_days: int
    text: str
    source: str


@dataclass(frozen=True)
class Timing:
    """The way of the images, RFC 3339; None where it has not happened or has no meaning.

    A provisional alert has no last byte yet; a drill has no bytes at all.
    `inference_ms` is the engine's share, summed over the slices; `tail_inference_ms` is what
    of it came after the last byte.
    """

    first_byte: str | None
    last_byte: str | None
    decided: str
    sealed: str
    inference_ms: float
    tail_inference_ms: float = 0.0


@dataclass(frozen=True)
class AuditHead:
    """How far the device's audit had come: so many entries, the SHA-256 (hex) of the last."""

    entries: int
    digest: str


@dataclass(frozen=True)
class Alert:
    """One alert. The fields and their bounds are described in `alert.schema.json`.

    Parameters
    ----------
    id : str
        UUIDv7 (RFC 9562), see `new_id`.
    sequence : int
        Per device, from 1, no gaps.
    created : str
        RFC 3339, UTC, milliseconds.
    status : str
        provisional, final or retracted.
    supersedes : str or None
        The `id` of the alert that this one replaces or takes back.
    outcome : str
        flagged, not_flagged, uncertain or not_analysed.
    reasons : tuple of str
        Why the study, or a part of it, was not analysed.
    """

    id: str
    sequence: int
    device: str
    site: str
    created: str
    status: str
    supersedes: str | None
    urgency: str
    outcome: str
    reasons: tuple[str, ...]
    patient: Patient
    study: StudyRef
    findings: tuple[FindingResult, ...]
    model: tuple[ModelRef, ...]
    quality: tuple[QualityFlag, ...]
    timing: Timing
    measurements: tuple[Measurement, ...] = ()
    progression: Progression | None = None
    follow_up: FollowUp | None = None
    audit: AuditHead | None = None
    notice: str = NOTICE
    schema: int = field(default=SCHEMA_VERSION)

    def to_json(self) -> bytes:
        """Return the canonical body, checked against the schema.

        Raises
        ------
        MessageError
            When a value is outside the schema: it is better not to seal it than to
            have every receiver refuse it.
        """
        document = plain(self)
        check(document)
        return canonical(document)

    @classmethod
    def from_json(cls, body: bytes) -> Alert:
        """Read and check a body.

        Raises
        ------
        MessageError
            When it is too long, not JSON, or outside the schema.
        """
        if len(body) > MAX_BODY:
            msg = f"the body has {len(body)} bytes; at most {MAX_BODY} are read"
            raise MessageError(msg)
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            msg = "the body is not JSON in UTF-8"
            raise MessageError(msg) from error
        check(document)
        alert = _alert(document)
        _check_moments(alert)
        return alert


def new_id() -> str:
    """Return a fresh UUIDv7 (RFC 9562 section 5.7): unique, and ordered by time."""
    return str(uuid_utils.uuid7())


def _check_moments(alert: Alert) -> None:
    """Refuse the thirtieth of February, which a pattern lets pass."""
    timing = alert.timing
    moments = (
        alert.created,
        timing.first_byte,
        timing.last_byte,
        timing.decided,
        timing.sealed,
    )
    try:
        for moment in moments:
            if moment is not None:
                parse_rfc3339(moment)
    except ValueError as error:
        msg = "created or timing: no such moment"
        raise MessageError(msg) from error


def _alert(document: dict[str, Any]) -> Alert:
    """Build the alert from a document that the schema has passed."""
    patient, study = document["patient"], document["study"]
    identity, progression = patient["identity"], document["progression"]
    follow_up, audit = document["follow_up"], document["audit"]
    parts: dict[str, Any] = {
        "reasons": tuple(document["reasons"]),
        "patient": Patient(patient["pseudonym"], Identity(**identity) if identity else None),
        "study": StudyRef(
            study["study_uid"],
            tuple(SeriesRef(**series) for series in study["series"]),
            study["acquired"],
        ),
        "findings": tuple(_finding(finding) for finding in document["findings"]),
        "model": tuple(ModelRef(**model) for model in document["model"]),
        "quality": tuple(QualityFlag(**flag) for flag in document["quality"]),
        "measurements": tuple(
            Measurement(**{**one, "code": Code(**one["code"])}) for one in document["measurements"]
        ),
        "progression": Progression(**progression) if progression else None,
        "follow_up": FollowUp(**follow_up) if follow_up else None,
        "audit": AuditHead(**audit) if audit else None,
        "timing": Timing(**document["timing"]),
    }
    return Alert(**{**document, **parts})


def _finding(document: dict[str, Any]) -> FindingResult:
    where = document["location"]
    location = None
    if where is not None:
        position = where["position_mm"]
        location = Location(where["text"], None if position is None else tuple(position))
    return FindingResult(**{**document, "code": Code(**document["code"]), "location": location})
