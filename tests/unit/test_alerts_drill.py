"""Drills: when one is due, what it says, and what is said when nobody answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from arrivals import open_store
from clock import Clock
from terminal import fresh, with_two_studies

from edge.alerts.drill import NOBODY, DrillSchedule, compose_drill
from edge.alerts.message import Alert
from edge.audit import Anchor
from edge.store.outbox import NewAlert, Outbox


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr("edge.alerts.drill.time", one)
    monkeypatch.setattr("edge.store.outbox.time", one)
    return one


@pytest.fixture
def outbox(tmp_path: Path, clock: Clock) -> Iterator[Outbox]:
    with open_store(tmp_path) as store:
        yield Outbox(store.journal)


def schedule(outbox: Outbox, every_s: float, sent: list[int]) -> DrillSchedule:
    def send() -> None:
        sent.append(outbox.record_drill(lambda n: NewAlert(f"id-{n}", "drill", b"")))

    return DrillSchedule(outbox, every_s, send)


def test_a_drill_is_marked_as_such_and_has_no_patient() -> None:
    alert = compose_drill(7, "ct-1", "north", Anchor(3, "a" * 64))
    assert Alert.from_json(alert.to_json()) == alert
    assert (alert.urgency, alert.patient.pseudonym, alert.patient.identity) == (
        "drill",
        NOBODY,
        None,
    )
    assert "no patient" in alert.reasons[0]
    assert alert.study.study_uid.startswith("2.25.")


def test_the_first_drill_is_sent_at_once_and_the_next_when_its_time_has_come(
    outbox: Outbox, clock: Clock
) -> None:
    sent: list[int] = []
    due = schedule(outbox, 3600, sent)
    due.look()
    due.look()
    assert sent == [1]
    clock.now += 3599
    due.look()
    assert sent == [1]
    clock.now += 1
    due.look()
    assert sent == [1, 2]


def test_the_schedule_goes_on_after_a_restart(outbox: Outbox, clock: Clock) -> None:
    sent: list[int] = []
    schedule(outbox, 3600, sent).look()
    clock.now += 1800
    after = schedule(outbox, 3600, sent)
    after.look()
    assert sent == [1]
    clock.now += 1800
    after.look()
    assert sent == [1, 2]


def test_a_clock_that_was_put_back_does_not_stop_the_drills(outbox: Outbox, clock: Clock) -> None:
    sent: list[int] = []
    due = schedule(outbox, 3600, sent)
    due.look()
    clock.now -= 30 * 86400
    due.look()
    assert sent == [1, 2]


def test_without_a_schedule_none_is_sent(outbox: Outbox) -> None:
    sent: list[int] = []
    schedule(outbox, 0, sent).look()
    assert sent == []


def test_a_drill_without_a_daemon_says_what_to_look_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scanside = with_two_studies(fresh(tmp_path, capsys))
    assert scanside("drill", "--timeout", "1") == 1
    assert "no broker has it" in scanside.out
    assert "Does `scanside run` run?" in scanside.err
    scanside("alerts list", "--json")
    drill = json.loads(scanside.out)[0]
    assert (drill["urgency"], drill["study_id"], drill["published"]) == ("drill", None, None)
    scanside("audit verify")
    assert "agree with it: 2." in scanside.out


def test_a_drill_before_the_first_start_says_to_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scanside = fresh(tmp_path, capsys)
    scanside("keys init")
    assert "scanside run" in scanside.refused("drill")
