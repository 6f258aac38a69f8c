"""Studies are kept as long as the site says, and none goes that somebody still waits for."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from arrivals import DEVICE_KEY, STUDY, arrival, open_store
from erasing import PIXELS, SIGNING, eraser, order, tell
from prometheus_client import CollectorRegistry

from edge.audit import Audit, read_entries
from edge.config import Storage, default_toml, load_config
from edge.grades import Grade
from edge.metrics import Metrics
from edge.retention.checking import check_retention
from edge.retention.eraser import Eraser, Surroundings
from edge.retention.keeper import Keeper
from edge.store.ages import ages
from edge.store.erasure import Erased
from edge.store.journal import StudyState
from edge.store.keeping import Rule, overdue, since, to_go, usage
from edge.store.lookup import list_studies
from edge.store.studies import Store

DAY = 86400.0
BEGAN = 1_767_225_600.0  # 2026-01-01
NOW = BEGAN + 100 * DAY
MONTH = Rule(seconds=30 * DAY, bytes=None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        yield opened


def study(store: Store, number: int, *, day: float, settled: bool = True) -> None:
    """Have study `number` come on a day, and be told of."""
    store.keep(arrival(study=f"{STUDY}.{number}", at=BEGAN + day * DAY), PIXELS)
    tell(store, number, settled=settled)


def going(store: Store, rule: Rule) -> list[int]:
    """Return what goes by a rule, as each is erased in turn."""
    gone = []
    for number, _ in to_go(store.journal, rule, NOW):
        assert isinstance(eraser(store).erase(order(number)), Erased)
        gone.append(number)
    return gone


def keeper(
    store: Store, rule: Rule, pressing: Callable[[int], bool] = lambda _: False
) -> tuple[Keeper, Metrics]:
    metrics = Metrics(CollectorRegistry())
    around = Surroundings(lambda _, erase: erase(), pressing, lambda _: None)
    made = Eraser(store, Audit(store.journal, lambda: SIGNING), around)
    return Keeper(made, store.journal, rule, metrics), metrics


def states(store: Store) -> list[str]:
    return [line.state for line in reversed(list_studies(store.journal, DEVICE_KEY, 10))]


# Which go


def test_without_a_rule_everything_is_kept(store: Store) -> None:
    study(store, 1, day=1)
    assert going(store, Rule.of(Storage())) == []


def test_what_is_older_goes_the_oldest_first(store: Store) -> None:
    for number, day in ((1, 10), (2, 69.9), (3, 70.1), (4, 99)):
        study(store, number, day=day)
    assert going(store, MONTH) == [1, 2]
    assert states(store) == ["erased", "erased", "decided", "decided"]


def test_a_study_that_got_an_image_lately_is_as_young_as_that(store: Store) -> None:
    study(store, 1, day=10)
    study(store, 2, day=20)
    store.keep(arrival(2, study=f"{STUDY}.1", at=BEGAN + 95 * DAY), PIXELS)
    store.study_state(1, StudyState.DECIDED, 2)
    assert going(store, MONTH) == [2]


def test_above_a_size_the_oldest_go_and_no_more_than_needed(store: Store) -> None:
    for number in range(1, 6):
        study(store, number, day=90 + number)
    whole = usage(store.journal)
    assert whole.studies == 5
    assert since(ages(store.journal, BEGAN + 96 * DAY)) == BEGAN + 91 * DAY
    assert going(store, Rule(None, whole.bytes)) == []
    assert going(store, Rule(None, whole.bytes // 5 * 3)) == [1, 2]
    assert usage(store.journal).bytes == whole.bytes // 5 * 3


def test_what_is_not_decided_or_not_delivered_stays_however_old(store: Store) -> None:
    study(store, 1, day=1, settled=False)
    study(store, 2, day=2)
    store.keep(arrival(2, study=f"{STUDY}.2", at=BEGAN + 3 * DAY), PIXELS)  # receiving again
    study(store, 3, day=3)
    store.study_state(3, StudyState.QUARANTINED, 1)
    assert going(store, replace(MONTH, bytes=1)) == [3]
    assert overdue(ages(store.journal, NOW), MONTH, NOW) == 2


@pytest.mark.parametrize("wrong", [-20000, -400, 400], ids=["never set", "put back", "ahead"])
def test_a_study_that_came_while_the_clock_was_wrong_is_as_old_as_the_next_and_holds_up_no_other(
    store: Store, wrong: float
) -> None:
    study(store, 1, day=10)
    study(store, 2, day=wrong)
    assert going(store, MONTH) == [1], "nobody knows whether the second is old"
    study(store, 3, day=20)
    study(store, 4, day=wrong)
    study(store, 5, day=99)
    assert overdue(ages(store.journal, NOW), MONTH, NOW) == 2
    assert going(store, MONTH) == [2, 3]
    assert overdue(ages(store.journal, NOW), MONTH, NOW) == 0
    assert [age.doubted for age in ages(store.journal, NOW).values()] == [True, False]
    assert [number for number, _ in to_go(store.journal, MONTH, NOW + 40 * DAY)] == [4, 5]


def test_an_image_that_came_while_the_clock_was_wrong_makes_its_study_no_older(
    store: Store,
) -> None:
    for number, day in ((1, 10), (2, 99)):
        study(store, number, day=day)
    for instance, day in ((2, -400), (3, 400)):
        store.keep(arrival(instance, study=f"{STUDY}.1", at=BEGAN + day * DAY), PIXELS)
        store.study_state(1, StudyState.DECIDED, instance)
        assert going(store, MONTH) == []
    assert [number for number, _ in to_go(store.journal, MONTH, NOW + 40 * DAY)] == [1, 2]


def test_many_studies_are_looked_at_in_turn(store: Store) -> None:
    for number in range(1, 121):
        store.keep(arrival(study=f"{STUDY}.{number}", at=BEGAN + number / 10 * DAY), b"image")
        store.study_state(number, StudyState.DECIDED, 1)
    asked = [number for number, _ in to_go(store.journal, MONTH, NOW)]
    assert asked == list(range(1, 121)), "those that stay for another reason hold up nobody"


def test_a_slow_sender_whose_study_is_numbered_late_is_not_taken_for_a_wrong_clock(
    store: Store,
) -> None:
    study(store, 1, day=90)
    study(store, 2, day=90 - 600 / DAY)
    assert not any(age.doubted for age in ages(store.journal, NOW).values())


# The keeper


def test_the_keeper_erases_counts_audits_and_says_the_rule(store: Store) -> None:
    study(store, 1, day=1)
    made, metrics = keeper(store, Rule(DAY, None))
    made.enforce()
    assert states(store) == ["erased"]
    counted = metrics.registry.get_sample_value(
        "scanside_studies_erased_total", {"why": "retention"}
    )
    assert counted == 1
    act = read_entries(store.journal, 1)[0].act
    assert (act.who, act.outcome) == ("daemon", "done: keep_days = 1")
    assert list((store._spool._folder).iterdir()) == []


def test_a_flag_that_nobody_acknowledged_holds_its_study_and_no_other(store: Store) -> None:
    for number in (1, 2):
        study(store, number, day=number)
    made, _ = keeper(store, Rule(DAY, 1), pressing=lambda number: number == 1)
    made.enforce()
    assert states(store) == ["decided", "erased"]
    assert [entry.act.on for entry in read_entries(store.journal, 10)] == ["study:2"]


def test_the_journal_is_written_anew_at_once_for_a_person_and_daily_for_the_rule(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        study(store, number, day=number)
    done: list[bool] = []  # whether the service manager was asked for patience
    made, _ = keeper(store, Rule(DAY, None), pressing=lambda number: number > 1)
    monkeypatch.setattr(store.journal, "compact", lambda: done.append(made.tidying))
    made.enforce()
    assert done == []
    with store.journal.transaction() as write:
        write.execute("UPDATE erasures SET answered = answered - 100000")
    made.enforce()
    assert done == [True]
    assert not made.tidying
    eraser(store).erase(order(2))
    eraser(store).tidy()
    assert len(done) == 2
    eraser(store).tidy()
    assert len(done) == 2


def test_a_clock_that_was_put_back_has_the_journal_written_anew_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(store, 1, day=1)
    done: list[bool] = []
    monkeypatch.setattr(store.journal, "compact", lambda: done.append(True))
    eraser(store).erase(order(1))
    with store.journal.transaction() as write:
        write.execute("UPDATE erasures SET answered = answered + 3600")
    eraser(store).tidy()
    eraser(store).tidy()
    assert done == [True]


def test_where_there_is_no_room_to_write_it_anew_that_is_said_and_tried_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    study(store, 1, day=1)

    def full() -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(store.journal, "compact", full)
        eraser(store).erase(order(1))
        eraser(store).tidy()
    assert "database or disk is full" in caplog.text
    assert list((store._spool._folder).iterdir()) == [], "the files are gone all the same"
    eraser(store).tidy()
    with store.journal.reading() as read:
        assert read.execute("SELECT compacted FROM erasures").fetchone()[0] is not None


def test_a_keeper_carries_out_what_waits_and_stops(store: Store) -> None:
    study(store, 1, day=1)
    made, _ = keeper(store, Rule(None, None))
    made.start()
    assert made.running
    made.stop()
    assert not made.running
    assert states(store) == ["decided"]


# What an administrator sees


def test_check_says_how_long_studies_are_kept_and_which_should_be_gone(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    text = default_toml().replace("/var/lib/scanside", "studies").replace("/etc/scanside/", "")
    file.write_text(text, encoding="utf-8")
    assert retention(file) == (Grade.GOOD, "studies are kept until somebody erases them")
    file.write_text(
        text.replace("# keep_days =", "keep_days = 30").replace("# keep_gb =", "keep_gb = 500"),
        encoding="utf-8",
    )
    with closing(Store(tmp_path / "studies", device_key=DEVICE_KEY, reserve_bytes=0)) as store:
        store.keep(arrival(at=time.time()), PIXELS)
    grade, said = retention(file)
    assert grade is Grade.GOOD
    assert said.startswith("studies are kept for 30 days and up to 500 GB; 1 since 20")
    with closing(Store(tmp_path / "studies", device_key=DEVICE_KEY, reserve_bytes=0)) as store:
        store.keep(arrival(study=f"{STUDY}.2", at=10.0), PIXELS)
    clock, *_ = check_retention(load_config(file))
    assert (clock.name, clock.grade) == ("retention clock", Grade.WARNING)
    assert clock.text == "1 study came while the clock was wrong"
    month_ago = time.time() - 32 * DAY
    with closing(Store(tmp_path / "late", device_key=DEVICE_KEY, reserve_bytes=0)) as store:
        store.keep(arrival(study=f"{STUDY}.3", at=month_ago), PIXELS)
    file.write_text(file.read_text("utf-8").replace('"studies"', '"late"'), encoding="utf-8")
    grade, said = retention(file)
    assert grade is Grade.WARNING
    assert said.endswith("1 should be gone")


def retention(file: Path) -> tuple[Grade, str]:
    (one,) = check_retention(load_config(file))
    return one.grade, one.text
