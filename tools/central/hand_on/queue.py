"""The durable queue: what waits for whom. It is written with the alert, in one transaction."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tools.central.database import Database, Statements
from tools.central.database.dialect import RetryError, Row, marks
from tools.central.hand_on.item import Item, document_of
from tools.central.records import Record

_LEASE_S = 120.0  # a process that dies with an item in hand loses it to another after this
_SET_ASIDE = 1e18  # due in the far future: only a person brings it back
_COLUMNS = "hand_ons.id, hand_ons.attempts, hand_ons.first, hand_ons.event"
_ALERT = (
    "alerts.stored, alerts.device, alerts.site, alerts.sequence, alerts.kid, alerts.lineage,"
    " alerts.created, alerts.alert_id, alerts.urgency, alerts.digest, alerts.body, alerts.problem"
)
_EVENT = "events.moment, events.kind, events.site, events.device, events.said, events.ended"


@dataclass(frozen=True)
class Waiting:
    """An item in hand: how often it was tried, and since when (seconds since the epoch)."""

    item: Item
    attempts: int
    first: float


class HandOnQueue:
    """One target's part of the queue. One thread uses it.

    Parameters
    ----------
    database : Database
    target : str
    holder : str
        This process, by a name that stays the same.

    Every method raises `DatabaseError` when the database cannot do it now.
    """

    def __init__(self, database: Database, target: str, holder: str) -> None:
        self._database = database
        self._target = target
        self._holder = holder

    def take_back(self) -> None:
        """Make due what we had in hand when we were killed."""
        with self._database.transaction() as write:
            write.run(
                "UPDATE hand_ons SET due = ?, holder = '' WHERE target = ? AND holder = ?",
                (time.time(), self._target, self._holder),
            )

    def claim(self, limit: int) -> list[Waiting]:
        """Take the items that are due, oldest first; other processes pass them over."""
        now = time.time()
        with suppress(RetryError), self._database.transaction() as write:
            rows = write.run(
                "SELECT id FROM hand_ons WHERE target = ? AND due <= ? ORDER BY id LIMIT ?"  # noqa: S608
                f" {self._database.dialect.unclaimed}",
                (self._target, now, limit),
            )
            numbers = [row[0] for row in rows]
            if not numbers:
                return []
            write.run(
                f"UPDATE hand_ons SET due = ?, holder = ? WHERE id IN ({marks(numbers)})",  # noqa: S608
                (now + _LEASE_S, self._holder, *numbers),
            )
            return self._read(write, numbers)
        return []

    def done(self, waiting: Sequence[Waiting]) -> None:
        """Forget what was taken."""
        numbers = [one.item.number for one in waiting]
        with self._database.transaction() as write:
            write.run(f"DELETE FROM hand_ons WHERE id IN ({marks(numbers)})", numbers)  # noqa: S608

    def again(self, one: Waiting, after_s: float, trouble: str) -> None:
        """Try an item again later."""
        self._put_off(one, time.time() + after_s, trouble)

    def set_aside(self, one: Waiting, trouble: str) -> None:
        """Try an item no more, and keep it."""
        self._put_off(one, _SET_ASIDE, trouble)

    def _put_off(self, one: Waiting, due: float, trouble: str) -> None:
        with self._database.transaction() as write:
            write.run(
                "UPDATE hand_ons SET attempts = ?, due = ?, trouble = ?, holder = '' WHERE id = ?",
                (one.attempts + 1, due, trouble[:200], one.item.number),
            )

    def _read(self, read: Statements, numbers: Sequence[int]) -> list[Waiting]:
        rows = read.run(
            f"SELECT {_COLUMNS}, {_ALERT}, {_EVENT} FROM hand_ons"  # noqa: S608
            " LEFT JOIN alerts ON alerts.id = hand_ons.alert"
            " LEFT JOIN events ON events.id = hand_ons.event"
            f" WHERE hand_ons.id IN ({marks(numbers)}) ORDER BY hand_ons.id",
            numbers,
        )
        return [_waiting(row) for row in rows]


def bring_back(database: Database) -> int:
    """Make every item that was set aside due again; return how many there were."""
    with database.transaction() as write:
        rows = write.run(
            "UPDATE hand_ons SET due = ?, first = ?, attempts = 0 WHERE due >= ? RETURNING id",
            (time.time(), time.time(), _SET_ASIDE),
        )
    return len(rows)


def backlog(read: Statements) -> dict[str, tuple[int, int]]:
    """Return for each target how many wait, and how many were set aside."""
    rows = read.run(
        "SELECT target, COUNT(*), SUM(CASE WHEN due >= ? THEN 1 ELSE 0 END) FROM hand_ons"
        " GROUP BY target",
        (_SET_ASIDE,),
    )
    return {target: (int(count) - int(aside), int(aside)) for target, count, aside in rows}


def _waiting(row: Row) -> Waiting:
    number, attempts, first, event, *rest = row
    alert, said = rest[:12], rest[12:]
    if event is not None:
        names = ("moment", "kind", "site", "device", "said", "ended")
        document = {"event": dict(zip(names, said, strict=True))}
        key = f"event-{event}-{'ended' if said[-1] else 'begun'}"
        return Waiting(Item(number, key, document, None), attempts, first)
    record = Record(*alert)
    key = record.alert_id or record.digest
    item = Item(number, key, document_of(record), json.loads(record.body))
    return Waiting(item, attempts, first)
