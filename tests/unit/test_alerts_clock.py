"""Whether the clock is right, as far as the journal can tell."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from terminal import fresh, with_two_studies

from edge.alerts.clock import ClockFacts, judge_clock
from edge.config import load_config
from edge.grades import Grade
from edge.store.journal import Journal

NOW = 1_780_000_000.0
AGREEING = ClockFacts(latest=NOW - 5, made=NOW - 100, stored=NOW - 99, received=NOW - 98)


@pytest.mark.parametrize(
    ("facts", "now", "text"),
    [
        (ClockFacts(), 86_400.0, "it was never set"),
        (ClockFacts(latest=NOW + 7200), NOW, "2 hours behind what was noted here before"),
        (
            ClockFacts(NOW, made=NOW, stored=NOW - 900, received=NOW + 1),
            NOW + 1,
            "15 minutes or more ahead of the central server's, by its last receipt",
        ),
        (
            ClockFacts(NOW, made=NOW, stored=NOW + 259_201, received=NOW + 1),
            NOW + 1,
            "3 days or more behind the central server's, by its last receipt",
        ),
    ],
)
def test_a_wrong_clock_is_told_with_what_shows_it(facts: ClockFacts, now: float, text: str) -> None:
    said = judge_clock(facts, now)
    assert (said.grade, said.text) == (Grade.WARNING, text)
    assert said.advice.startswith("Set it")


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (ClockFacts(), "nothing here speaks against it"),
        (AGREEING, "agrees with the central server's"),
        # The broker was away for a day: the alert and its receipt waited.
        (ClockFacts(NOW, NOW - 90_000, NOW - 3600, NOW), "agrees with the central server's"),
        (ClockFacts(NOW, NOW - 90_000, NOW - 86_400, NOW), "agrees with the central server's"),
        (ClockFacts(NOW + 30), "nothing here speaks against it"),
    ],
)
def test_what_only_took_its_time_is_no_wrong_clock(facts: ClockFacts, text: str) -> None:
    said = judge_clock(facts, NOW)
    assert (said.grade, said.text) == (Grade.GOOD, text)


def test_check_reads_the_clock_against_the_journal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    used = with_two_studies(fresh(tmp_path, capsys))
    used("check")
    assert "ok   clock: nothing here speaks against it" in used.out
    file = load_config(used.config).storage.folder / "journal.db"
    with closing(Journal(file)) as journal, journal.transaction() as write:
        # What was noted while the clock was a year ahead: it was put right since.
        write.execute(
            "INSERT INTO audit (number, moment, who, what, target, outcome, digest)"
            " SELECT MAX(number) + 1, strftime('%Y-%m-%dT%H:%M:%S.000Z', 'now', '+1 year'),"
            " 'daemon', 'daemon.started', '', '', x'00' FROM audit"
        )
    used("check")
    assert "warn clock: 365 days behind what was noted here before" in used.out
