"""The alert's body, its schema, and what neither lets pass."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.alerts.message import (
    MAX_BODY,
    NOTICE,
    OUTCOMES,
    STATUSES,
    Alert,
    AuditHead,
    Code,
    FindingResult,
    FollowUp,
    Identity,
    Location,
    Measurement,
    MessageError,
    ModelRef,
    Patient,
    Progression,
    QualityFlag,
    SeriesRef,
    StudyRef,
    Timing,
    alert_schema,
    new_id,
)
from edge.alerts.topics import URGENCIES
from edge.timestamps import parse_rfc3339, rfc3339

MOMENT = "2026-03-01T09:30:00.250Z"

FINDING = FindingResult(
    code=Code("SCT", "1386000", "Intracranial hemorrhage"),
    label="Intracranial hemorrhage",
    probability=0.93,
    threshold=0.5,
    flagged=True,
    abstained=False,
    series_uid="1.2.840.1.1",
    key_image_uid="1.2.840.1.1.23",
    location=Location("slice 23 of 40", (-31.5, 12.0, 88.25)),
    model="head-ct-hemorrhage",
)

FINAL = Alert(
    id="0190f5c0-7b1a-7c3e-8f00-0123456789ab",
    sequence=7,
    device="ct-1",
    site="north",
    created=MOMENT,
    status="final",
    supersedes=None,
    urgency="critical",
    outcome="flagged",
    reasons=(),
    patient=Patient("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    study=StudyRef(
        "1.2.840.1", (SeriesRef("1.2.840.1.1", "CT", "HEAD", 40, True, "geometry", None),), MOMENT
    ),
    findings=(FINDING,),
    model=(ModelRef("head-ct-hemorrhage", "0.1.0", "a" * 64, "fp32", "onnxruntime"),),
    quality=(),
    timing=Timing(MOMENT, MOMENT, MOMENT, MOMENT, 412.5),
)
PROVISIONAL = replace(FINAL, status="provisional", timing=replace(FINAL.timing, last_byte=None))
RETRACTED = replace(
    FINAL, status="retracted", supersedes=FINAL.id, outcome="not_flagged", urgency="routine"
)
UNCERTAIN = replace(
    FINAL,
    outcome="uncertain",
    urgency="routine",
    findings=(replace(FINDING, flagged=False, abstained=True, probability=0.45, location=None),),
)
NOT_ANALYSED = replace(
    FINAL,
    outcome="not_analysed",
    urgency="routine",
    reasons=("no model for modality MR",),
    study=StudyRef(
        "1.2.3", (SeriesRef("1.2.3.4", "MR", "", 200, False, "quiet", "no model"),), None
    ),
    findings=(),
    model=(),
)
DRILL = replace(FINAL, urgency="drill", timing=Timing(None, None, MOMENT, MOMENT, 0.0))
EVERYTHING = replace(
    FINAL,
    patient=replace(FINAL.patient, identity=Identity("P-1", "Hospital", "Núñez^Ana", "19500101")),
    quality=(QualityFlag("motion", 0.7, "1", "The patient moved."),),
    measurements=(
        Measurement(
            Code("SCT", "1", "Hippocampus"), "Hippocampus", 3.2, 2.5, None, False, "1.2.3", "m"
        ),
    ),
    progression=Progression("1.2.9", 31.0, "larger", 14.2, "mm", "Larger than a month ago."),
    follow_up=FollowUp(90, "CT in three months.", "Fleischner 2017"),
)
EXAMPLES = {
    "final": FINAL,
    "provisional": PROVISIONAL,
    "retracted": RETRACTED,
    "uncertain": UNCERTAIN,
    "not analysed": NOT_ANALYSED,
    "drill": DRILL,
    "everything": EVERYTHING,
}


@pytest.mark.parametrize("alert", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_an_alert_comes_back_as_it_was_sent(alert: Alert) -> None:
    body = alert.to_json()
    assert Alert.from_json(body) == alert
    assert Alert.from_json(body).to_json() == body


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("urgency", URGENCIES)
def test_every_status_outcome_and_urgency_is_in_the_schema(
    status: str, outcome: str, urgency: str
) -> None:
    alert = replace(
        FINAL,
        status=status,
        outcome=outcome,
        urgency=urgency,
        supersedes=FINAL.id,
        reasons=("half of the slices were missing",),
    )
    assert Alert.from_json(alert.to_json()) == alert


def test_the_body_is_canonical() -> None:
    body = EVERYTHING.to_json()
    again = json.dumps(
        json.loads(body), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()
    assert body == again


def test_every_alert_says_that_it_is_no_diagnosis() -> None:
    assert "not a diagnosis" in NOTICE
    assert "never means normal" in NOTICE
    assert json.loads(FINAL.to_json())["notice"] == NOTICE


def _objects(schema: Any) -> Any:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for part in schema.values():
            yield from _objects(part)


def test_the_schema_closes_every_object_and_bounds_every_text_and_list() -> None:
    document = alert_schema().document
    assert document["$id"] == "urn:scanside:alert:1"
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"

    def bounded(part: Any) -> bool:
        if isinstance(part, list):
            return all(map(bounded, part))
        if not isinstance(part, dict):
            return True
        kinds = part.get("type", [])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if "string" in kinds and "pattern" not in part and "maxLength" not in part:
            return part == {"type": "string"}  # the condition on a retraction
        if "array" in kinds and "maxItems" not in part:
            return False
        return all(map(bounded, part.values()))

    for one in _objects(document):
        assert one["additionalProperties"] is False
        assert one["required"] == list(one["properties"])
    assert bounded(document)


def test_the_schema_and_the_classes_name_the_same_fields() -> None:
    document = alert_schema().document

    def names(kind: type) -> list[str]:
        assert is_dataclass(kind)
        return sorted(item.name for item in fields(kind))

    definitions = {
        "code": Code,
        "identity": Identity,
        "series": SeriesRef,
        "location": Location,
        "finding": FindingResult,
        "model": ModelRef,
        "quality": QualityFlag,
        "measurement": Measurement,
        "progression": Progression,
        "follow_up": FollowUp,
        "timing": Timing,
        "audit": AuditHead,
    }
    assert sorted(document["properties"]) == names(Alert)
    for name, kind in definitions.items():
        assert sorted(document["$defs"][name]["properties"]) == names(kind)


WRONG: dict[str, dict[str, Any]] = {
    "another version": {"schema": 2},
    "an id that is not a UUIDv7": {"id": "0190f5c0-7b1a-4c3e-8f00-0123456789ab"},
    "sequence 0": {"sequence": 0},
    "a sequence that is true": {"sequence": True},
    "a device with a wildcard's length": {"device": "x" * 65},
    "no such month": {"created": "2026-13-01T09:30:00.250Z"},
    "local time": {"created": "2026-03-01T09:30:00.250+01:00"},
    "a line feed after the time": {"created": MOMENT + "\n"},
    "an unknown status": {"status": "draft"},
    "an unknown urgency": {"urgency": "soon"},
    "an unknown outcome": {"outcome": "normal"},
    "not analysed without a reason": {"outcome": "not_analysed", "reasons": []},
    "flagged without a flagged finding": {"outcome": "flagged", "findings": []},
    "flagged with a measurement that is not": {
        "outcome": "flagged",
        "findings": [],
        "measurements": json.loads(EVERYTHING.to_json())["measurements"],
    },
    "a retraction of nothing": {"status": "retracted", "supersedes": None},
    "a pseudonym in clear": {"patient": {"pseudonym": "Doe", "identity": None}},
    "an unknown member": {"extra": 1},
    "too many reasons": {"reasons": ["x"] * 33},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_what_is_outside_the_schema_is_refused(change: dict[str, Any]) -> None:
    document = {**json.loads(FINAL.to_json()), **change}
    with pytest.raises(MessageError):
        Alert.from_json(json.dumps(document).encode())


@pytest.mark.parametrize("name", [item.name for item in fields(Alert)])
def test_a_missing_member_is_refused(name: str) -> None:
    document = json.loads(FINAL.to_json())
    del document[name]
    with pytest.raises(MessageError, match="missing"):
        Alert.from_json(json.dumps(document).encode())


def test_an_error_names_the_place_and_never_the_value() -> None:
    document = json.loads(EVERYTHING.to_json())
    document["patient"]["identity"]["sex"] = "Doe^Jane" * 9
    with pytest.raises(MessageError, match="patient/identity") as caught:
        Alert.from_json(json.dumps(document).encode())
    assert "Doe" not in str(caught.value)


def test_a_probability_that_is_no_number_is_never_sent() -> None:
    alert = replace(FINAL, findings=(replace(FINDING, probability=float("nan")),))
    with pytest.raises(MessageError):
        alert.to_json()


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_json_does_not_have_is_refused(number: str) -> None:
    body = EVERYTHING.to_json()
    (said,) = {str(one.probability) for one in EVERYTHING.findings[:1]}
    bad = body.replace(f'"probability":{said}'.encode(), f'"probability":{number}'.encode())
    assert bad != body
    with pytest.raises(MessageError, match="not JSON"):
        Alert.from_json(bad)


def test_half_a_character_is_refused() -> None:
    document = {**json.loads(FINAL.to_json()), "reasons": ["\udc80"]}
    with pytest.raises(MessageError, match="not JSON"):
        Alert.from_json(json.dumps(document).encode())


def test_text_that_is_not_unicode_is_never_sent() -> None:
    with pytest.raises(MessageError):
        replace(FINAL, reasons=("\udc80",)).to_json()


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"[]", b"null", b"7", b"[" * MAX_BODY, b" " * (MAX_BODY + 1), b'{"schema":1}'],
    ids=["empty", "bytes", "list", "null", "number", "nested", "long", "short"],
)
def test_any_other_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(MessageError):
        Alert.from_json(body)


def test_ids_are_ordered_by_time() -> None:
    ids = [new_id() for _ in range(50)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 50


@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(timezone.utc)))  # noqa: DTZ001
def test_a_moment_reads_back_to_the_millisecond(moment: datetime) -> None:
    text = rfc3339(moment)
    assert len(text) == 24
    assert moment - parse_rfc3339(text) < timedelta(milliseconds=1)


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        rfc3339(datetime(2026, 3, 1))  # noqa: DTZ001
