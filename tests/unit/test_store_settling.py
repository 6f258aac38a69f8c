"""An alert is settled when every server that owes a receipt has given it, and not before."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from arrivals import arrival, open_store
from clock import Clock

from edge.store import outbox as outboxes
from edge.store.journal import Journal, StudyState
from edge.store.lookup import AlertLine, list_alerts
from edge.store.outbox import RESEND_S, NewAlert, Outbox, Outcome, resend_after_s
from edge.store.schema import MIGRATIONS
from edge.store.settling import Backlog, Effect, ReceivedReceipt, Settlements
from edge.store.studies import Store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr("edge.store.outbox.time", one)
    monkeypatch.setattr("edge.store.settling.time", one)
    return one


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        opened.keep(arrival(), b"image")
        yield opened


@pytest.fixture
def outbox(store: Store) -> Outbox:
    return Outbox(store.journal)


@pytest.fixture
def settlements(store: Store) -> Settlements:
    return Settlements(store.journal)


def add(store: Store, *owed_by: str, urgency: str = "urgent") -> int:
    outbox = Outbox(store.journal)
    result = Outcome(1, store.study(1).key, StudyState.DECIDED, 1, "final", {})
    made = outbox.record(
        result, lambda number: NewAlert(f"id-{number}", urgency, b"", f"digest-{number}", owed_by)
    )
    return int(made.alert_id.removeprefix("id-"))


def receipt(number: int, central: str = "ward", **changes: str) -> ReceivedReceipt:
    said = {"alert_id": f"id-{number}", "digest": f"digest-{number}", **changes}
    moment = "2026-03-01T09:30:00.250Z"
    return ReceivedReceipt(central, "kid", number, stored=moment, status="stored", **said)


def effects(settlements: Settlements, *receipts: ReceivedReceipt) -> list[Effect]:
    return [answer.effect for answer in settlements.settle(receipts)]


def to_send(outbox: Outbox) -> list[int]:
    return [entry.sequence for entry in outbox.pending(100, ())]


def line(store: Store, number: int) -> AlertLine:
    return next(one for one in list_alerts(store.journal, 100) if one.sequence == number)


def test_an_alert_waits_for_the_receipt_of_each_server(
    store: Store, outbox: Outbox, settlements: Settlements
) -> None:
    add(store, "archive", "ward")
    assert line(store, 1).delivery == "waiting"
    outbox.mark_published([1])
    assert line(store, 1).delivery == "published"
    assert line(store, 1).owed_by == ("archive", "ward")
    assert effects(settlements, receipt(1, "ward")) == [Effect.NOTED]
    assert line(store, 1).owed_by == ("archive",)
    assert effects(settlements, receipt(1, "archive")) == [Effect.SETTLED]
    assert line(store, 1).delivery == "settled"
    assert line(store, 1).receipts_of == ("archive", "ward")
    assert settlements.backlog() == Backlog(0, 0, None)


def test_where_nobody_owes_a_receipt_the_broker_settles(store: Store, outbox: Outbox) -> None:
    add(store)
    outbox.mark_published([1])
    assert line(store, 1).delivery == "settled"


def test_a_receipt_may_overtake_the_brokers_acknowledgement(
    store: Store, outbox: Outbox, settlements: Settlements, clock: Clock
) -> None:
    add(store, "ward")
    assert effects(settlements, receipt(1)) == [Effect.SETTLED]
    assert to_send(outbox) == []
    outbox.mark_published([1])
    clock.now += 10_000
    assert to_send(outbox) == []


def test_the_same_receipt_again_changes_nothing(store: Store, settlements: Settlements) -> None:
    add(store, "ward", "archive")
    one = receipt(1)
    assert effects(settlements, one, one) == [Effect.NOTED, Effect.KNOWN]
    assert effects(settlements, one) == [Effect.KNOWN]


@pytest.mark.parametrize(
    "wrong", [receipt(1, alert_id="id-of-another"), receipt(1, digest="other"), receipt(2)]
)
def test_a_receipt_for_something_else_settles_nothing(
    store: Store, settlements: Settlements, wrong: ReceivedReceipt
) -> None:
    """As when the receipts of a former journal, which also began at 1, are played again."""
    add(store, "ward")
    assert effects(settlements, wrong) == [Effect.NO_SUCH_ALERT]
    assert line(store, 1).owed_by == ("ward",)


def test_a_server_that_owes_none_may_give_one(
    store: Store, outbox: Outbox, settlements: Settlements
) -> None:
    add(store, "ward")
    assert effects(settlements, receipt(1, "night")) == [Effect.NOTED]
    assert line(store, 1).owed_by == ("ward",)


def test_without_a_receipt_an_alert_is_sent_again_ever_more_rarely(
    store: Store, outbox: Outbox, clock: Clock
) -> None:
    add(store, "ward")
    pauses = []
    for _ in range(8):
        assert to_send(outbox) == [1]
        outbox.mark_published([1])
        before = clock.now
        while not to_send(outbox):
            clock.now += 30.0
        pauses.append(clock.now - before)
    assert pauses == [30.0, 60.0, 120.0, 240.0, 480.0, 900.0, 900.0, 900.0]
    assert [resend_after_s(n) for n in (1, 2, 99)] == [RESEND_S[0], 60.0, RESEND_S[1]]
    (entry,) = outbox.pending(1, ())
    assert entry.sent == 8


def test_new_alerts_go_before_repeats_and_the_urgent_repeats_before_the_others(
    store: Store, outbox: Outbox, clock: Clock
) -> None:
    for urgency in ("routine", "critical", "urgent"):
        add(store, "ward", urgency=urgency)
    outbox.mark_published([1, 2, 3])
    add(store, "ward", urgency="routine")
    clock.now += 31
    assert to_send(outbox) == [4, 2, 3, 1]
    assert [one.sequence for one in outbox.pending(2, [4])] == [2, 3]


def test_a_clock_that_was_put_back_does_not_hold_an_alert(
    store: Store, outbox: Outbox, clock: Clock
) -> None:
    add(store, "ward")
    outbox.mark_published([1])
    clock.now -= 30 * 86400
    assert to_send(outbox) == []
    outbox.catch_up()
    assert to_send(outbox) == [1]


def test_an_alert_that_waited_too_long_is_escalated_once_and_sent_at_once(
    store: Store, outbox: Outbox, settlements: Settlements, clock: Clock
) -> None:
    add(store, "ward")
    add(store, "ward")
    outbox.mark_published([1, 2])
    settlements.settle([receipt(2)])
    assert settlements.escalate(60) == []
    clock.now += 61
    assert settlements.escalate(60) == [1]
    assert settlements.escalate(60) == []
    (entry,) = outbox.pending(9, ())
    assert (entry.sequence, entry.escalated) == (1, True)
    assert line(store, 1).delivery == "escalated"
    assert settlements.backlog() == Backlog(1, 1, clock.now - 61)
    settlements.settle([receipt(1)])
    assert line(store, 1).delivery == "settled"
    assert settlements.backlog() == Backlog(0, 0, None)


def test_what_no_broker_has_taken_escalates_too(
    store: Store, settlements: Settlements, clock: Clock
) -> None:
    add(store, "ward")
    clock.now += 61
    assert settlements.escalate(60) == [1]


def test_a_server_that_is_gone_is_waited_for_no_more(
    store: Store, outbox: Outbox, settlements: Settlements
) -> None:
    add(store, "ward", "archive")
    add(store, "archive")
    add(store, "archive")
    outbox.mark_published([1, 2])
    assert settlements.wait_for(["ward"]) == 1
    assert [line(store, number).delivery for number in (1, 2, 3)] == [
        "published",
        "settled",
        "waiting",
    ]
    outbox.mark_published([3])
    assert line(store, 3).delivery == "settled"
    assert line(store, 1).owed_by == ("ward",)


def test_a_server_that_comes_back_owes_what_is_not_settled(
    store: Store, outbox: Outbox, settlements: Settlements
) -> None:
    add(store, "ward", "archive")
    settlements.wait_for(["ward"])
    settlements.wait_for(["ward", "archive"])
    assert line(store, 1).owed_by == ("archive", "ward")


def test_a_drill_is_of_no_study_and_lapses_when_nobody_answers(
    store: Store, outbox: Outbox, settlements: Settlements, clock: Clock
) -> None:
    add(store, "ward")
    number = outbox.record_drill(lambda n: NewAlert(f"id-{n}", "drill", b"", "digest", ("ward",)))
    assert number == 2
    assert line(store, 2).study_id is None
    outbox.mark_published([1, 2])
    clock.now += 3601
    assert settlements.escalate(60) == [1]
    assert settlements.lapse_drills(3600) == [2]
    assert settlements.lapse_drills(3600) == []
    assert to_send(outbox) == [1]
    assert line(store, 2).delivery == "lapsed"


def test_many_unsettled_alerts_need_no_more_memory_than_one(
    store: Store, outbox: Outbox, clock: Clock
) -> None:
    for _ in range(300):
        add(store, "ward")
    outbox.mark_published(range(1, 301))
    clock.now += 31
    assert len(outbox.pending(64, ())) == 64


def test_alerts_of_an_earlier_version_keep_their_numbers_and_their_standing(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    old.executescript("".join(MIGRATIONS[:2]) + "PRAGMA user_version = 2;")
    old.execute(
        "INSERT INTO studies (token, study_uid, wrapped_key, pseudonym, identity, state, created,"
        " first_byte, last_byte) VALUES ('t', '1.2', x'', 'p', x'', 'decided', 0, 0, 0)"
    )
    old.executemany(
        "INSERT INTO outbox VALUES (?, 1, ?, 'urgent', 1, x'00', 5.0, ?)",
        [(1, "id-1", 6.0), (2, "id-2", None)],
    )
    old.close()
    journal = Journal(tmp_path / "journal.db")
    waiting, settled = list_alerts(journal, 9)
    assert (settled.sequence, settled.delivery, settled.settled) == (1, "settled", 6.0)
    assert (waiting.sequence, waiting.delivery) == (2, "waiting")
    outbox = Outbox(journal)
    assert [entry.sequence for entry in outbox.pending(9, ())] == [2]
    # It has no digest to compare: its id is enough.
    assert effects(Settlements(journal), receipt(2)) == [Effect.SETTLED]
    journal.close()


def test_the_ranks_are_the_urgencies_in_their_order() -> None:
    assert list(outboxes._RANK) == ["critical", "urgent", "routine", "drill"]
