"""What a person at central reads."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from edge.alerts.message import (
    Alert,
    Code,
    FindingResult,
    Measurement,
    Patient,
    StudyRef,
    Timing,
)
from edge.alerts.sealing import Refusal
from tools.central.lines import alert_line, counts_line, state_line
from tools.central.records import Record, Standing
from tools.central.store import DeviceState
from tools.central.subscriber import Counts, Received

MOMENT = "2026-03-01T09:30:00.250Z"
FINDING = FindingResult(
    code=Code("SCT", "1", "x"),
    label="Hemorrhage",
    probability=0.934,
    threshold=0.5,
    flagged=True,
    abstained=False,
    series_uid="1",
    key_image_uid=None,
    location=None,
    model="m",
)
ALERT = Alert(
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
    study=StudyRef("1.2.3", (), None),
    findings=(replace(FINDING, label="Other", flagged=False, probability=0.99), FINDING),
    model=(),
    quality=(),
    timing=Timing(None, None, MOMENT, MOMENT, 0.0),
)


def received(alert: Alert | None, **more: object) -> Received:
    record = Record(
        MOMENT,
        "ct-1",
        "north",
        7,
        "kid",
        "kid",
        MOMENT,
        ALERT.id,
        "critical",
        "digest",
        "{}",
        "came on another topic",
    )
    values = {"standing": Standing.NEW, "missing": 0, "at": 0.0, "at_monotonic": 0.0, **more}
    return Received(alert, record, **values)  # type: ignore[arg-type]


def test_a_line_names_the_flagged_finding_and_not_the_patient() -> None:
    line = alert_line(received(ALERT)).plain
    assert line.startswith("09:30:00.250  north/ct-1 #7   CRITICAL   FLAGGED  Hemorrhage 93%")
    assert "final" in line
    assert ALERT.patient.pseudonym not in line


def test_a_line_names_a_flagged_measurement_before_a_finding_that_is_not() -> None:
    calm = replace(FINDING, flagged=False)
    large = Measurement(calm.code, "Seen", 31.5, None, 5.0, True, "1.2.3", "sizes")
    both = replace(ALERT, measurements=(large,), findings=(calm,))
    assert "Seen 31.5 ml" in alert_line(received(both)).plain
    flagged = replace(ALERT, measurements=(large,), findings=(replace(calm, flagged=True),))
    assert "Hemorrhage 93%" in alert_line(received(flagged)).plain
    quiet = replace(ALERT, measurements=(replace(large, flagged=False),), findings=(calm,))
    assert "Hemorrhage 93%" in alert_line(received(quiet)).plain


def test_what_was_not_analysed_says_so_and_why() -> None:
    alert = replace(ALERT, outcome="not_analysed", findings=(), reasons=("no model",))
    assert "NOT ANALYSED  no model" in alert_line(received(alert)).plain


@pytest.mark.parametrize(
    ("more", "words"),
    [({"missing": 3}, "3 missing"), ({"standing": Standing.RESTARTED}, "beginning again")],
)
def test_a_line_says_what_is_odd(more: dict[str, object], words: str) -> None:
    assert words in alert_line(received(ALERT, **more)).plain


def test_an_alert_that_cannot_be_read_is_shown_loudly() -> None:
    assert "UNREADABLE" in alert_line(received(None)).plain


def test_a_terminal_is_not_given_anybodys_control_characters() -> None:
    alert = replace(ALERT, findings=(replace(FINDING, label="a\x1b[2Jb\n[red]c"),))
    line = alert_line(received(alert)).plain
    assert "a?[2Jb?[red]c" in line


def test_a_device_that_is_gone_is_shown_as_offline() -> None:
    online = DeviceState("north", "ct-1", online=True, since=MOMENT, backlog=4)
    assert "online since 2026-03-01T09:30:00.250Z, 4 alerts to come" in state_line(online).plain
    assert "OFFLINE" in state_line(replace(online, online=False)).plain


def test_the_end_counts_refusals_by_reason() -> None:
    counts = Counts(5, 5, 2, Counter({Refusal.STALE: 1, Refusal.MALFORMED: 3}))
    assert counts_line(counts) == "accepted 5, repeats dropped 2, refused: malformed 3, stale 1"
