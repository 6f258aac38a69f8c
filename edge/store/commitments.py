"""Storage commitments: who asked for which instances, and whether the answer was taken.

A request is here before it is acknowledged, so that it is answered after a crash too. Of what
was answered only who asked, when, and for how many instances is kept.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edge.store.journal import Journal

MOST_REQUESTS = 64  # that wait, of one requester
MOST_REFERENCES = 500_000  # in all requests that wait


class TooMany(RuntimeError):
    """A request is one too many; the text says of what."""


class Reference(NamedTuple):
    """An instance as a scanner names it."""

    sop_class_uid: str
    instance_uid: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """That a request waits for its answer, without what it names.

    Parameters
    ----------
    id : int
    requester : str
        AE title.
    asked, due : float
        When it came, and when to try next; seconds since the epoch.
    tries : int
        How often it could not be answered.
    """

    id: int
    requester: str
    asked: float
    due: float
    tries: int


@dataclass(frozen=True, slots=True)
class Commitment(Waiting):
    """A request that waits for its answer.

    Parameters
    ----------
    transaction_uid : str
    references : tuple of Reference
    """

    transaction_uid: str
    references: tuple[Reference, ...]


class Commitments:
    """The commitments' side of the journal; threads may share it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def keep(
        self,
        requester: str,
        transaction_uid: str,
        references: Sequence[Reference],
        now: float,
        *,
        due: float | None = None,
    ) -> tuple[Commitment, dict[int, int]]:
        """Keep a request durably; the same one again is answered again.

        Parameters
        ----------
        requester, transaction_uid : str
        references : sequence of Reference
        now : float
            Seconds since the epoch.
        due : float or None
            When to call the requester at the earliest; None: now.

        Returns
        -------
        Commitment
        dict
            The series of which it names every instance, and how many they hold; none while one
            that it names is not here, for nobody knows of which series that is.

        Raises
        ------
        TooMany
            If its requester, or all together, have too much that waits; it is not kept.
        """
        named = json.dumps(references, separators=(",", ":"))
        with self._journal.transaction() as write:
            row = write.execute(
                "INSERT INTO commitments (requester, transaction_uid, named, number, asked, due)"
                " VALUES (?,?,?,?,?,?) ON CONFLICT (requester, transaction_uid)"
                " WHERE reported IS NULL AND given_up IS NULL DO UPDATE SET"
                " named = excluded.named, number = excluded.number, asked = excluded.asked,"
                " due = excluded.due, tries = 0 RETURNING *",
                (requester, transaction_uid, named, len(references), now, due or now),
            ).fetchone()
            _bound(write, requester)
            covered = _covered(write, references)
            write.executemany(
                "UPDATE series SET committed = ? WHERE id = ?",
                [(count, series) for series, count in covered.items()],
            )
        return _commitment(row), covered

    def waiting(self) -> tuple[Waiting, ...]:
        """Return the requests that have no answer yet, the one that is due first first."""
        with self._journal.reading() as read:
            rows = read.execute(
                "SELECT id, requester, asked, due, tries FROM commitments"
                " WHERE reported IS NULL AND given_up IS NULL ORDER BY due"
            ).fetchall()
        return tuple(Waiting(**row) for row in rows)

    def read(self, id_: int) -> Commitment | None:
        """Return a request with what it names; None if it waits no longer."""
        with self._journal.reading() as read:
            row = read.execute(
                "SELECT * FROM commitments WHERE id = ? AND reported IS NULL AND given_up IS NULL",
                (id_,),
            ).fetchone()
        return None if row is None else _commitment(row)

    def reported(self, id_: int, now: float) -> None:
        """Note that the requester took the answer."""
        self._settle("reported", id_, now)

    def given_up(self, id_: int, now: float) -> None:
        """Note that the requester could not be told."""
        self._settle("given_up", id_, now)

    def _settle(self, how: str, id_: int, now: float) -> None:
        with self._journal.transaction() as write:
            write.execute(
                f"UPDATE commitments SET {how} = ?, named = '[]', transaction_uid = ''"  # noqa: S608
                " WHERE id = ? AND reported IS NULL AND given_up IS NULL",
                (now, id_),
            )

    def tried(self, id_: int, due: float) -> None:
        """Note that the requester was not reached, and when to try again."""
        with self._journal.transaction() as write:
            write.execute(
                "UPDATE commitments SET tries = tries + 1, due = ? WHERE id = ?", (due, id_)
            )


def count_commitments(journal: Journal) -> dict[str, int]:
    """Return how many requests wait, were answered, or were given up."""
    with journal.reading() as read:
        rows = read.execute(
            "SELECT CASE WHEN reported IS NOT NULL THEN 'reported'"
            " WHEN given_up IS NOT NULL THEN 'given_up' ELSE 'waiting' END AS state,"
            " COUNT(*) AS number FROM commitments GROUP BY state"
        ).fetchall()
    return {"waiting": 0, "reported": 0, "given_up": 0} | {
        row["state"]: row["number"] for row in rows
    }


def unreported(journal: Journal, before: float) -> dict[str, int]:
    """Return how many requests from before a moment still wait for their report, by who asked."""
    with journal.reading() as read:
        rows = read.execute(
            "SELECT requester, COUNT(*) AS number FROM commitments WHERE reported IS NULL"
            " AND given_up IS NULL AND asked < ? GROUP BY requester ORDER BY requester",
            (before,),
        ).fetchall()
    return {row["requester"]: row["number"] for row in rows}


def _commitment(row: sqlite3.Row) -> Commitment:
    return Commitment(
        id=row["id"],
        requester=row["requester"],
        transaction_uid=row["transaction_uid"],
        references=tuple(Reference(*one) for one in json.loads(row["named"])),
        asked=row["asked"],
        due=row["due"],
        tries=row["tries"],
    )


def _bound(read: sqlite3.Connection, requester: str) -> None:
    """Raise `TooMany` if too much waits."""
    row = read.execute(
        "SELECT COALESCE(SUM(requester = ?), 0) AS own, COALESCE(SUM(number), 0) AS named"
        " FROM commitments WHERE reported IS NULL AND given_up IS NULL",
        (requester,),
    ).fetchone()
    if row["own"] > MOST_REQUESTS:
        raise TooMany(f"{MOST_REQUESTS} requests of it wait for their report already")
    if row["named"] > MOST_REFERENCES:
        raise TooMany(f"requests that wait would name more than {MOST_REFERENCES} instances")


def _covered(read: sqlite3.Connection, references: Collection[Reference]) -> dict[int, int]:
    """Return the series of which every instance is named, and how many copies they hold."""
    named: Counter[int] = Counter()
    for reference in references:
        rows = read.execute(
            "SELECT DISTINCT series_id FROM instances WHERE instance_uid = ?",
            (reference.instance_uid,),
        ).fetchall()
        if not rows:
            return {}
        named.update(row["series_id"] for row in rows)
    covered = {}
    for series, count in named.items():
        row = read.execute(
            "SELECT COUNT(DISTINCT instance_uid) AS uids, COUNT(*) AS copies FROM instances"
            " WHERE series_id = ?",
            (series,),
        ).fetchone()
        if row["uids"] == count:
            covered[series] = row["copies"]
    return covered
