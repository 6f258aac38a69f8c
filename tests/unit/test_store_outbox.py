"""An alert is never lost, never sent for a result that was not kept, and has its number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from arrivals import STUDY, arrival, open_store

from edge.store.journal import StudyState
from edge.store.outbox import NewAlert, Outbox, Outcome
from edge.store.studies import Store

SUMMARY = {"outcome": "flagged", "reasons": ["secret words"]}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        opened.keep(arrival(), b"image")
        yield opened


@pytest.fixture
def outbox(store: Store) -> Outbox:
    return Outbox(store.journal)


def outcome(store: Store, state: StudyState = StudyState.DECIDED) -> Outcome:
    return Outcome(1, store.study(1).key, state, 1, "final", SUMMARY)


def alert(urgency: str = "routine") -> Callable[[int], NewAlert]:
    return lambda sequence: NewAlert(f"id-{sequence}", urgency, f"sealed {sequence}".encode())


def waiting(outbox: Outbox, *exclude: int, limit: int = 100) -> list[int]:
    return [entry.sequence for entry in outbox.pending(limit, exclude)]


def test_result_alert_and_state_are_written_together(store: Store, outbox: Outbox) -> None:
    made = outbox.record(outcome(store), alert("critical"))
    assert made == NewAlert("id-1", "critical", b"sealed 1")
    study = store.study(1)
    assert study.state is StudyState.DECIDED
    assert store.last_result(study) == SUMMARY
    (entry,) = outbox.pending(10, ())
    assert (entry.sequence, entry.urgency, entry.sealed) == (1, "critical", b"sealed 1")


def test_an_alert_that_cannot_be_made_leaves_no_result(store: Store, outbox: Outbox) -> None:
    def fail(sequence: int) -> NewAlert:
        raise ValueError("cannot be sealed")

    with pytest.raises(ValueError, match="cannot be sealed"):
        outbox.record(outcome(store), fail)
    study = store.study(1)
    assert study.state is StudyState.RECEIVING
    assert store.last_result(study) is None
    assert outbox.backlog() == 0
    assert outbox.record(outcome(store), alert()).alert_id == "id-1"


def test_an_alert_with_an_id_that_was_there_leaves_no_result(store: Store, outbox: Outbox) -> None:
    outbox.record(outcome(store), lambda _: NewAlert("same", "routine", b""))
    with pytest.raises(Exception, match="UNIQUE"):
        outbox.record(
            Outcome(1, store.study(1).key, StudyState.QUARANTINED, 1, "final", {}),
            lambda _: NewAlert("same", "routine", b""),
        )
    assert store.study(1).state is StudyState.DECIDED
    assert store.last_result(store.study(1)) == SUMMARY


def test_the_last_result_is_the_one_that_was_kept_last(store: Store, outbox: Outbox) -> None:
    for number in range(3):
        outbox.record(
            Outcome(1, store.study(1).key, StudyState.RECEIVING, 1, "final", {"n": number}), alert()
        )
    assert store.last_result(store.study(1)) == {"n": 2}


def test_the_sequence_has_no_gap_whoever_counts(store: Store, outbox: Outbox) -> None:
    result = outcome(store)

    def one(number: int) -> None:
        if number % 3:
            outbox.record(result, alert())
            return
        with pytest.raises(ZeroDivisionError):
            outbox.record(result, lambda sequence: alert()(sequence // 0))

    with ThreadPoolExecutor(4) as tellers:
        list(tellers.map(one, range(18)))
    assert waiting(outbox) == list(range(1, 13))


def test_the_sequence_goes_on_after_a_restart_and_after_everything_was_published(
    tmp_path: Path,
) -> None:
    for expected in (1, 2, 3):
        with open_store(tmp_path) as store:
            store.keep(arrival(), b"image")
            outbox = Outbox(store.journal)
            assert outbox.record(outcome(store), alert()).alert_id == f"id-{expected}"
            outbox.mark_published([expected])


def test_the_most_urgent_leave_first_and_the_oldest_of_them_before_the_others(
    store: Store, outbox: Outbox
) -> None:
    for urgency in ("routine", "urgent", "critical", "drill", "critical", "urgent"):
        outbox.record(outcome(store), alert(urgency))
    assert waiting(outbox) == [3, 5, 2, 6, 1, 4]
    assert waiting(outbox, limit=2) == [3, 5]


def test_what_is_under_way_is_not_handed_out_again(store: Store, outbox: Outbox) -> None:
    for _ in range(4):
        outbox.record(outcome(store), alert())
    assert waiting(outbox, 1, 3) == [2, 4]
    assert waiting(outbox, 1, 2, 3, 4) == []


def test_what_the_broker_took_does_not_wait_any_more(store: Store, outbox: Outbox) -> None:
    for _ in range(3):
        outbox.record(outcome(store), alert())
    outbox.mark_published([2])
    assert waiting(outbox) == [1, 3]
    assert outbox.backlog() == 2


def test_a_result_is_not_kept_in_clear(store: Store, outbox: Outbox, tmp_path: Path) -> None:
    outbox.record(outcome(store), alert())
    files = [file.read_bytes() for file in tmp_path.glob("journal.db*")]
    assert not any(b"secret words" in content for content in files)


def test_a_result_of_a_study_that_is_not_there_is_refused(store: Store, outbox: Outbox) -> None:
    with pytest.raises(Exception, match="FOREIGN KEY"):
        outbox.record(
            Outcome(99, store.study(1).key, StudyState.DECIDED, 1, "final", SUMMARY), alert()
        )
    assert outbox.backlog() == 0


def test_studies_do_not_share_their_results(store: Store, outbox: Outbox) -> None:
    store.keep(arrival(study=f"{STUDY}.2"), b"image")
    outbox.record(outcome(store), alert())
    assert store.last_result(store.study(2)) is None
