"""The outbox: alerts that are not settled yet, written with the result they tell of.

The transactional outbox pattern: one transaction holds the study's new state, the result, the
alert's sequence number and the sealed alert. So no alert is lost, none is sent for a result
that was not kept, and the sequence has no gap.

An alert waits until the broker has acknowledged it, and is settled when every server that owes
a receipt has given it (`edge.store.settling`). Until then it is sent again, ever more rarely.
What is in memory is a handful of rows, however many wait.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from edge.store.feedback import Score, count_scores
from edge.store.journal import Journal, StudyState, set_state
from edge.store.records import seal_json
from edge.store.study_key import StudyKey

RESEND_S = (30.0, 900.0)  # from a sending to the next without a receipt: first, longest

_RANK = {"critical": 0, "urgent": 1, "routine": 2, "drill": 3}
_ENTRY = "SELECT sequence, urgency, sealed, created, sent, escalated FROM outbox"
_NOT_IN = "sequence NOT IN (SELECT value FROM json_each(?))"


class OutboxError(RuntimeError):
    """The outbox cannot be read or written now; what is in it stays in it."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """An alert on its way.

    Parameters
    ----------
    sequence : int
    urgency : str
        Chooses the topic.
    sealed : bytes
        The payload.
    created : float
        When it was made, seconds since the epoch.
    sent : int
        How often a broker has taken it before.
    escalated : bool
        Whether it goes on the second topic, too.
    """

    sequence: int
    urgency: str
    sealed: bytes
    created: float = 0.0
    sent: int = 0
    escalated: bool = False


@dataclass(frozen=True, slots=True)
class NewAlert:
    """What goes into the journal for an alert.

    Parameters
    ----------
    alert_id, urgency, sealed : str, str, bytes
    digest : str
        What receipts call it by: `edge.alerts.sealing.body_digest`.
    owed_by : tuple of str
        The servers that have to give a receipt. None: the broker's acknowledgement settles it.
    """

    alert_id: str
    urgency: str
    sealed: bytes
    digest: str = ""
    owed_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A result to keep, of a study with so many instances.

    `summary` is sealed with the study's key. `scores` are counted with the first result that is
    final, so that a study is counted once.
    """

    study_id: int
    key: StudyKey
    state: StudyState
    instances: int
    status: str
    summary: dict[str, Any]
    scores: tuple[Score, ...] = ()


class Outbox:
    """The alerts' side of the journal; threads may share it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def record(self, outcome: Outcome, make_alert: Callable[[int], NewAlert]) -> NewAlert:
        """Keep a result and its alert, or neither.

        Parameters
        ----------
        outcome : Outcome
            What was decided of the study.
        make_alert : callable
            Makes the sealed alert for the sequence number it is given. Runs inside the
            transaction: the number is inside the signature.
        """
        now = time.time()
        with self._journal.transaction() as write:
            alert = _add(write, outcome.study_id, make_alert, now)
            set_state(write, outcome.study_id, outcome.state, outcome.instances)
            if not _was_final(write, outcome.study_id):
                count_scores(write, outcome.scores, now)
            write.execute(
                "INSERT INTO results (study_id, status, summary, decided) VALUES (?,?,?,?)",
                (outcome.study_id, outcome.status, seal_json(outcome.key, outcome.summary), now),
            )
        return alert

    def record_drill(self, make_alert: Callable[[int], NewAlert]) -> int:
        """Keep a test alarm, which is of no study; return its sequence number."""
        with self._journal.transaction() as write:
            _add(write, None, make_alert, time.time())
            (sequence,) = write.execute("SELECT MAX(sequence) FROM outbox").fetchone()
        return int(sequence)

    def last_drill(self) -> float | None:
        """Return when the last drill was made, seconds since the epoch; None: never."""
        with as_outbox_error(), self._journal.reading() as read:
            (made,) = read.execute(
                "SELECT MAX(created) FROM outbox WHERE study_id IS NULL AND urgency = 'drill'"
            ).fetchone()
        return None if made is None else float(made)

    def pending(self, limit: int, exclude: Collection[int]) -> Sequence[OutboxEntry]:
        """Return alerts to send now: most urgent first, then oldest.

        Those that no broker has taken come first; then those whose receipt is overdue.

        Parameters
        ----------
        limit : int
            How many at most.
        exclude : collection of int
            Sequence numbers under way or set aside.

        Raises
        ------
        OutboxError
            If the journal cannot be read.
        """
        but = json.dumps(list(exclude))
        with as_outbox_error(), self._journal.reading() as read:
            rows = read.execute(
                f"{_ENTRY} WHERE published IS NULL AND lapsed IS NULL AND {_NOT_IN}"
                " ORDER BY rank, sequence LIMIT ?",
                (but, limit),
            ).fetchall()
            now = time.time()
            # A query for each rank, so that each is a walk along the index and nothing is sorted.
            for rank in _RANK.values():
                rows += read.execute(
                    f"{_ENTRY} WHERE published IS NOT NULL AND settled IS NULL AND lapsed IS NULL"
                    f" AND rank = ? AND due <= ? AND {_NOT_IN} ORDER BY due LIMIT ?",
                    (rank, now, but, limit - len(rows)),
                ).fetchall()
        return [
            OutboxEntry(
                row["sequence"],
                row["urgency"],
                row["sealed"],
                row["created"],
                row["sent"],
                row["escalated"] is not None,
            )
            for row in rows
        ]

    def mark_published(self, sequences: Collection[int]) -> None:
        """Record that the broker acknowledged alerts, in one commit; raises as `pending` does."""
        now = time.time()
        with as_outbox_error(), self._journal.transaction() as write:
            for sequence in sequences:
                row = write.execute(
                    "UPDATE outbox SET sent = sent + 1, published = COALESCE(published, ?)"
                    " WHERE sequence = ? RETURNING sent",
                    (now, sequence),
                ).fetchone()
                if row is not None:
                    due = now + resend_after_s(row["sent"])
                    write.execute("UPDATE outbox SET due = ? WHERE sequence = ?", (due, sequence))
            settle_paid(write, sequences, now)

    def catch_up(self) -> None:
        """Send at once what a clock that was put back would hold until then; raises likewise."""
        now = time.time()
        with as_outbox_error(), self._journal.transaction() as write:
            write.execute(
                "UPDATE outbox SET due = ? WHERE published IS NOT NULL AND settled IS NULL"
                " AND lapsed IS NULL AND due > ?",
                (now, now + RESEND_S[1]),
            )

    def waiting(self) -> dict[str, int]:
        """Return how many alerts the broker has not acknowledged, by urgency; raises likewise."""
        with as_outbox_error(), self._journal.reading() as read:
            rows = read.execute(
                "SELECT urgency, COUNT(*) FROM outbox WHERE published IS NULL AND lapsed IS NULL"
                " GROUP BY urgency"
            ).fetchall()
        return {**dict.fromkeys(_RANK, 0), **dict(map(tuple, rows))}

    def backlog(self) -> int:
        """Return how many alerts the broker has not acknowledged; raises as `pending` does."""
        with as_outbox_error(), self._journal.reading() as read:
            (count,) = read.execute(
                "SELECT COUNT(*) FROM outbox WHERE published IS NULL AND lapsed IS NULL"
            ).fetchone()
        return int(count)


def _was_final(write: sqlite3.Connection, study_id: int) -> bool:
    row = write.execute(
        "SELECT 1 FROM results WHERE study_id = ? AND status = 'final' LIMIT 1", (study_id,)
    ).fetchone()
    return row is not None


def resend_after_s(sent: int) -> float:
    """Return how long to wait for a receipt after an alert was sent so often, in seconds."""
    first, longest = RESEND_S
    return min(longest, first * 2.0 ** min(sent - 1, 16))


def settle_paid(write: sqlite3.Connection, sequences: Collection[int], now: float) -> list[int]:
    """Settle those of some alerts that a broker has and nobody owes a receipt for.

    Returns
    -------
    list of int
        The sequences that became settled.
    """
    settled = write.execute(
        "UPDATE outbox SET settled = ? WHERE settled IS NULL AND published IS NOT NULL"
        " AND sequence IN (SELECT value FROM json_each(?))"
        " AND NOT EXISTS (SELECT 1 FROM receipts WHERE receipts.sequence = outbox.sequence"
        "  AND received IS NULL AND waived IS NULL)"
        " RETURNING sequence",
        (now, json.dumps(list(sequences))),
    ).fetchall()
    return [row["sequence"] for row in settled]


def _add(
    write: sqlite3.Connection,
    study_id: int | None,
    make_alert: Callable[[int], NewAlert],
    now: float,
) -> NewAlert:
    (last,) = write.execute("SELECT COALESCE(MAX(sequence), 0) FROM outbox").fetchone()
    alert = make_alert(last + 1)
    write.execute(
        "INSERT INTO outbox (sequence, study_id, alert_id, urgency, rank, sealed, digest, created)"
        " VALUES (?,?,?,?,?,?,?,?)",
        (
            last + 1,
            study_id,
            alert.alert_id,
            alert.urgency,
            _RANK[alert.urgency],
            alert.sealed,
            alert.digest or None,
            now,
        ),
    )
    write.executemany(
        "INSERT INTO receipts (sequence, central) VALUES (?,?)",
        [(last + 1, central) for central in alert.owed_by],
    )
    return alert


@contextmanager
def as_outbox_error() -> Iterator[None]:
    """Raise what SQLite raises as `OutboxError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise OutboxError(f"The journal's outbox: {error}.") from error
