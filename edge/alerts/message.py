"""The alert: what a central server learns of one study.

The dataclasses are the body that is sealed; `alert.schema.json` is the same in the
language of JSON Schema (draft 2020-12) for receivers written in anything. A body is
canonical: sorted keys, no spaces, UTF-8, so that the same alert is the same bytes.

A wire type is written out here and not shared with the rooms that fill it: what
receivers depend on must not change because a class elsewhere did.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import uuid_utils

from edge.alerts.canonical import MAX_BODY, alert_schema, canonical, check, plain
from edge.alerts.message_parts import (
    AuditHead,
    Code,
    FindingResult,
    FollowUp,
    Identity,
    Location,
    Measurement,
    ModelRef,
    Patient,
    Progression,
    QualityFlag,
    SeriesRef,
    StudyRef,
    Timing,
)
from edge.alerts.schema import MessageError
from edge.jose.read_json import read_json
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
    "Measurement",
    "MessageError",
    "ModelRef",
    "Patient",
    "Progression",
    "QualityFlag",
    "SeriesRef",
    "StudyRef",
    "Timing",
    "alert_schema",
    "new_id",
]

SCHEMA_VERSION = 1
STATUSES = ("provisional", "final", "retracted")
OUTCOMES = ("flagged", "not_flagged", "uncertain", "not_analysed")

NOTICE = (
    "This is a suggestion to look sooner, not a diagnosis. "
    "A physician decides. A silent Scanside never means normal."
)


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
            document = read_json(body)
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
