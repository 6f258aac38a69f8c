"""The outbox: alerts that wait for the broker, written with the result they tell of.

The transactional outbox pattern: one transaction holds the study's new state, the result, the
alert's sequence number and the sealed alert. So no alert is lost, none is sent for a result
that was not kept, and the sequence has no gap.
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

_RANK = {"critical": 0, "urgent": 1, "routine": 2, "drill": 3}


class OutboxError(RuntimeError):
    """The outbox cannot be read or written now; what is in it stays in it."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """An alert on its way: `urgency` chooses the topic, `sealed` is the payload."""

    sequence: int
    urgency: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class NewAlert:
    """What goes into the journal with a result: the alert's id, urgency and sealed bytes."""

    alert_id: str
    urgency: str
    sealed: bytes


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
            (last,) = write.execute("SELECT COALESCE(MAX(sequence), 0) FROM outbox").fetchone()
            alert = make_alert(last + 1)
            set_state(write, outcome.study_id, outcome.state, outcome.instances)
            if not _was_final(write, outcome.study_id):
                count_scores(write, outcome.scores, now)
            write.execute(
                "INSERT INTO results (study_id, status, summary, decided) VALUES (?,?,?,?)",
                (outcome.study_id, outcome.status, seal_json(outcome.key, outcome.summary), now),
            )
            write.execute(
                "INSERT INTO outbox (sequence, study_id, alert_id, urgency, rank, sealed, created)"
                " VALUES (?,?,?,?,?,?,?)",
                (
                    last + 1,
                    outcome.study_id,
                    alert.alert_id,
                    alert.urgency,
                    _RANK[alert.urgency],
                    alert.sealed,
                    now,
                ),
            )
        return alert

    def pending(self, limit: int, exclude: Collection[int]) -> Sequence[OutboxEntry]:
        """Return alerts the broker has not acknowledged: most urgent first, then oldest.

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
        with _as_outbox_error(), self._journal.reading() as read:
            rows = read.execute(
                "SELECT sequence, urgency, sealed FROM outbox WHERE published IS NULL"
                " AND sequence NOT IN (SELECT value FROM json_each(?))"
                " ORDER BY rank, sequence LIMIT ?",
                (json.dumps(list(exclude)), limit),
            ).fetchall()
        return [OutboxEntry(row["sequence"], row["urgency"], row["sealed"]) for row in rows]

    def mark_published(self, sequence: int) -> None:
        """Record that the broker acknowledged an alert; raises as `pending` does."""
        with _as_outbox_error(), self._journal.transaction() as write:
            write.execute(
                "UPDATE outbox SET published = ? WHERE sequence = ?", (time.time(), sequence)
            )

    def waiting(self) -> dict[str, int]:
        """Return how many alerts the broker has not acknowledged, by urgency; raises likewise."""
        with _as_outbox_error(), self._journal.reading() as read:
            rows = read.execute(
                "SELECT urgency, COUNT(*) FROM outbox WHERE published IS NULL GROUP BY urgency"
            ).fetchall()
        return {**dict.fromkeys(_RANK, 0), **dict(map(tuple, rows))}

    def backlog(self) -> int:
        """Return how many alerts the broker has not acknowledged; raises as `pending` does."""
        with _as_outbox_error(), self._journal.reading() as read:
            (count,) = read.execute(
                "SELECT COUNT(*) FROM outbox WHERE published IS NULL"
            ).fetchone()
        return int(count)


def _was_final(write: sqlite3.Connection, study_id: int) -> bool:
    row = write.execute(
        "SELECT 1 FROM results WHERE study_id = ? AND status = 'final' LIMIT 1", (study_id,)
    ).fetchone()
    return row is not None


@contextmanager
def _as_outbox_error() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OutboxError(f"The journal's outbox: {error}.") from error
