"""Which alerts are settled: receipts that came, that are owed, and that will not come.

A server owes a receipt for each alert that was sealed for it, by its name, for its keys may
change meanwhile. One that is no longer a recipient is waited for no more. An alert without
its receipts is escalated after a time; a drill without them lapses.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from edge.store.journal import Journal
from edge.store.outbox import as_outbox_error, settle_paid


@dataclass(frozen=True, slots=True)
class ReceivedReceipt:
    """What a receipt says of one alert; see `edge.alerts.receipt.StoredAlert`."""

    central: str
    kid: str
    sequence: int
    alert_id: str
    digest: str
    stored: str
    status: str


class Effect(str, Enum):
    """What a receipt did."""

    SETTLED = "settled"  # the last that was owed
    NOTED = "noted"  # others are still owed
    KNOWN = "known"  # it had come before
    NO_SUCH_ALERT = "no such alert"  # another id or content under that number, or no such number


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receipt did to an alert, which was made at `created` (seconds since the epoch)."""

    effect: Effect
    created: float
    urgency: str = ""


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far behind the receipts are.

    `oldest` is when the oldest unsettled alert was made, in seconds since the epoch; None: none is.
    """

    unsettled: int
    escalated: int
    oldest: float | None


class Settlements:
    """The receipts' side of the journal; threads may share it. Every method raises `OutboxError`
    when the journal cannot be used now."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def settle(self, receipts: Sequence[ReceivedReceipt]) -> list[Answer]:
        """Note receipts, all in one commit; return what each of them did."""
        now = time.time()
        with as_outbox_error(), self._journal.transaction() as write:
            return [_settle(write, receipt, now) for receipt in receipts]

    def wait_for(self, centrals: Collection[str]) -> int:
        """Wait for these servers and no others; return how many alerts that settled.

        A server that is waited for again owes what it owed before.
        """
        now = time.time()
        names = json.dumps(list(centrals))
        with as_outbox_error(), self._journal.transaction() as write:
            write.execute(
                "UPDATE receipts SET waived = NULL WHERE received IS NULL AND waived IS NOT NULL"
                " AND central IN (SELECT value FROM json_each(?))"
                " AND sequence IN (SELECT sequence FROM outbox WHERE settled IS NULL)",
                (names,),
            )
            waived = write.execute(
                "UPDATE receipts SET waived = ? WHERE received IS NULL AND waived IS NULL"
                " AND central NOT IN (SELECT value FROM json_each(?)) RETURNING sequence",
                (now, names),
            ).fetchall()
            return len(settle_paid(write, {row["sequence"] for row in waived}, now))

    def escalate(self, older_than_s: float) -> list[int]:
        """Mark alerts that have waited longer, to be sent at once; return their sequences.

        Drills are not escalated: a missed one lapses.
        """
        now = time.time()
        with as_outbox_error(), self._journal.reading() as read:
            found = read.execute(
                "SELECT sequence FROM outbox WHERE settled IS NULL AND lapsed IS NULL"
                " AND escalated IS NULL AND urgency != 'drill' AND created <= ? LIMIT 1000",
                (now - older_than_s,),
            ).fetchall()
        sequences = [row["sequence"] for row in found]
        if sequences:
            with as_outbox_error(), self._journal.transaction() as write:
                write.executemany(
                    "UPDATE outbox SET escalated = ?, due = ? WHERE sequence = ?",
                    [(now, now, sequence) for sequence in sequences],
                )
        return sequences

    def lapse_drills(self, older_than_s: float) -> list[int]:
        """Give up drills that are older and not settled; return their sequences."""
        now = time.time()
        with as_outbox_error(), self._journal.reading() as read:
            found = read.execute(
                "SELECT sequence FROM outbox WHERE settled IS NULL AND lapsed IS NULL"
                " AND urgency = 'drill' AND created <= ?",
                (now - older_than_s,),
            ).fetchall()
        sequences = [row["sequence"] for row in found]
        if sequences:
            with as_outbox_error(), self._journal.transaction() as write:
                write.executemany(
                    "UPDATE outbox SET lapsed = ? WHERE sequence = ?",
                    [(now, sequence) for sequence in sequences],
                )
        return sequences

    def backlog(self) -> Backlog:
        """Return how far behind the receipts are."""
        with as_outbox_error(), self._journal.reading() as read:
            row = read.execute(
                "SELECT COUNT(*), COUNT(escalated), MIN(created) FROM outbox"
                " WHERE settled IS NULL AND lapsed IS NULL"
            ).fetchone()
        return Backlog(*row)


def _settle(write: sqlite3.Connection, receipt: ReceivedReceipt, now: float) -> Answer:
    alert = write.execute(
        "SELECT alert_id, digest, created, urgency FROM outbox WHERE sequence = ?",
        (receipt.sequence,),
    ).fetchone()
    if (
        alert is None
        or alert["alert_id"] != receipt.alert_id
        # An alert that was made before there were receipts has no digest to compare.
        or alert["digest"] not in {None, receipt.digest}
    ):
        return Answer(Effect.NO_SUCH_ALERT, now)
    # A server from which none is owed may give one: it was stored there all the same.
    noted = write.execute(
        "INSERT INTO receipts (sequence, central, kid, stored, status, received)"
        " VALUES (?,?,?,?,?,?) ON CONFLICT (sequence, central) DO UPDATE SET kid = excluded.kid,"
        " stored = excluded.stored, status = excluded.status, received = excluded.received"
        " WHERE received IS NULL",
        (
            receipt.sequence,
            receipt.central,
            receipt.kid,
            receipt.stored,
            receipt.status,
            now,
        ),
    )
    if noted.rowcount == 0:
        return Answer(Effect.KNOWN, alert["created"])
    # It can overtake the broker's acknowledgement: who has the receipt needs that no more.
    write.execute(
        "UPDATE outbox SET published = ?, sent = 1, due = ?"
        " WHERE sequence = ? AND published IS NULL",
        (now, now, receipt.sequence),
    )
    settled = settle_paid(write, [receipt.sequence], now)
    effect = Effect.SETTLED if settled else Effect.NOTED
    return Answer(effect, alert["created"], alert["urgency"])
