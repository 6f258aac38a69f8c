"""Objects for the PACS that wait to be sent, written with the decision they tell of.

As with alerts (`edge.store.outbox`), one transaction holds the result and what is to be sent of it,
so nothing is lost and nothing is sent for a result that was not kept. What an object says is sealed
with the study's key until it is made, at the moment of sending; its UIDs are fixed here, so that
one that is sent twice is one object all the same.

A study's objects go in the order they were made. One that the PACS will not have waits for a person
(``scanside results resend``) and holds nothing else up.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

from edge.store.journal import Journal
from edge.store.records import open_json, seal_json
from edge.store.study_key import SealBroken, StudyKey

log = logging.getLogger("scanside.results")

SWITCHED_OFF = "[results] is switched off"

RESEND_S = (5.0, 3600.0)  # from a failed sending of one object to the next: first, longest


class Kind(str, Enum):
    """What an object is."""

    REPORT = "report"
    KEY_IMAGES = "key_images"
    HEATMAP = "heatmap"


class DocumentState(str, Enum):
    """Where an object stands."""

    WAITING = "waiting"
    STORED = "stored"
    REFUSED = "refused"
    ERASED = "erased"  # with its study, before the PACS had it


class DocumentsError(RuntimeError):
    """The objects cannot be read or written now; what is kept stays kept."""


@dataclass(frozen=True, slots=True)
class DocumentLine:
    """One object and where it stands. Times are seconds since the epoch.

    Parameters
    ----------
    id, study_id : int
    kind : Kind
    created : float
        When the decision it tells of was made.
    attempts : int
        Sendings that came to nothing, since it was last asked for.
    due : float
        When it is sent next, if it waits.
    answer : str
        What came of the last sending, in words without patient data; empty before the first.
    stored, refused : float or None
        When the PACS had it; when it was given up.
    erased : bool
        Whether what it says is gone, with its study.
    """

    id: int
    study_id: int
    kind: Kind
    created: float
    attempts: int
    due: float
    answer: str
    stored: float | None
    refused: float | None
    erased: bool = False

    @property
    def state(self) -> DocumentState:
        """Where it stands."""
        if self.stored is not None:
            return DocumentState.STORED
        if self.erased:
            return DocumentState.ERASED
        return DocumentState.WAITING if self.refused is None else DocumentState.REFUSED


@dataclass(frozen=True, slots=True)
class Broken:
    """An object whose content does not open any more.

    Parameters
    ----------
    id : int
    created : float
        When the decision it tells of was made, seconds since the epoch.
    had : bool
        Whether the PACS has had it.
    """

    id: int
    created: float
    had: bool


@dataclass(frozen=True, slots=True)
class Queued:
    """A study's objects of one kind, in the order they were made.

    Parameters
    ----------
    opened : tuple of dict
        What was kept of those that open.
    last_broken : tuple of Broken
        Those behind the last that opens.
    number : int
        Of all of them.
    """

    opened: tuple[dict[str, Any], ...]
    last_broken: tuple[Broken, ...]
    number: int


@dataclass(frozen=True, slots=True)
class DocumentsStanding:
    """How many objects stand where; `oldest` is when the oldest that waits was made."""

    waiting: int
    stored: int
    refused: int
    oldest: float | None

    @property
    def counts(self) -> dict[str, int]:
        """Return how many stand where, by state."""
        return {"waiting": self.waiting, "stored": self.stored, "refused": self.refused}


class Documents:
    """The objects in the journal; threads and processes may share it.

    Every method raises `DocumentsError` when the journal cannot be used now.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @contextmanager
    def together(self) -> Iterator[None]:
        """Do what is done within in one transaction; part of one that is open already."""
        with _as_documents_error(), self._journal.transaction():
            yield

    def add(self, study_id: int, key: StudyKey, kind: Kind, about: dict[str, Any]) -> int:
        """Keep an object that is to be sent; return its number. `about` is sealed."""
        now = time.time()
        with _as_documents_error(), self._journal.transaction() as write:
            (number,) = write.execute(
                "INSERT INTO documents (study_id, kind, about, created, due) VALUES (?,?,?,?,?)"
                " RETURNING id",
                (study_id, kind.value, seal_json(key, about), now, now),
            ).fetchone()
        return int(number)

    def about(self, study_id: int, key: StudyKey, kind: Kind) -> Queued:
        """Return what was kept of a study's objects of one kind."""
        with _as_documents_error(), self._journal.reading() as read:
            rows = read.execute(
                "SELECT id, about, created, had FROM documents WHERE study_id = ? AND kind = ?"
                " ORDER BY id",
                (study_id, kind.value),
            ).fetchall()
        opened: list[dict[str, Any]] = []
        broken: list[Broken] = []
        for row in rows:
            about = _opened(row["id"], key, row["about"])
            if about is None:
                broken.append(Broken(row["id"], row["created"], row["had"] is not None))
            else:
                opened.append(about)
                broken.clear()
        return Queued(tuple(opened), tuple(broken), len(rows))

    def next(self) -> DocumentLine | None:
        """Return the oldest object that is due and not behind another of its study, if any."""
        with _as_documents_error(), self._journal.reading() as read:
            row = read.execute(
                "SELECT * FROM documents WHERE stored IS NULL AND refused IS NULL AND due <= ?"
                " AND NOT EXISTS (SELECT 1 FROM documents AS earlier"
                "  WHERE earlier.study_id = documents.study_id"
                "  AND earlier.id < documents.id AND earlier.stored IS NULL"
                "  AND earlier.refused IS NULL) ORDER BY id LIMIT 1",
                (time.time(),),
            ).fetchone()
        return None if row is None else _line(row)

    def stored(self, number: int, answer: str) -> None:
        """Note that the PACS has an object."""
        with _as_documents_error(), self._journal.transaction() as write:
            write.execute(
                "UPDATE documents SET stored = :now, had = COALESCE(had, :now), answer = :answer"
                " WHERE id = :id",
                {"now": time.time(), "answer": answer, "id": number},
            )

    def refused(self, number: int, answer: str) -> None:
        """Note that an object will not be had; it is not sent again until somebody asks."""
        with _as_documents_error(), self._journal.transaction() as write:
            write.execute(
                "UPDATE documents SET refused = ?, answer = ? WHERE id = ?",
                (time.time(), answer, number),
            )

    def failed(self, number: int, answer: str) -> None:
        """Note that an object could not be stored now, and let it wait, longer each time."""
        with _as_documents_error(), self._journal.transaction() as write:
            row = write.execute(
                "UPDATE documents SET attempts = attempts + 1, answer = ? WHERE id = ?"
                " RETURNING attempts",
                (answer, number),
            ).fetchone()
            if row is not None:
                due = time.time() + resend_after_s(row["attempts"])
                write.execute("UPDATE documents SET due = ? WHERE id = ?", (due, number))

    def ask_again(self, numbers: Collection[int]) -> list[int]:
        """Have objects sent again, whatever became of them; return those that there are."""
        with _as_documents_error(), self._journal.transaction() as write:
            rows = write.execute(
                "UPDATE documents SET stored = NULL, refused = NULL, attempts = 0, due = ?"
                " WHERE id IN (SELECT value FROM json_each(?)) AND about != x'' RETURNING id",
                (time.time(), json.dumps(list(numbers))),
            ).fetchall()
        return sorted(row["id"] for row in rows)

    def give_up(self, why: str) -> None:
        """Let nothing wait any more, as when nothing is sent at all; somebody can ask again."""
        with _as_documents_error(), self._journal.transaction() as write:
            write.execute(
                "UPDATE documents SET refused = ?, answer = ?"
                " WHERE stored IS NULL AND refused IS NULL",
                (time.time(), why),
            )

    def catch_up(self) -> None:
        """Let nothing wait longer than it may, after a clock was put back."""
        now = time.time()
        with _as_documents_error(), self._journal.transaction() as write:
            write.execute(
                "UPDATE documents SET due = ? WHERE stored IS NULL AND refused IS NULL AND due > ?",
                (now, now + RESEND_S[1]),
            )

    def latest(self, limit: int, study_id: int | None = None) -> list[DocumentLine]:
        """Return the latest objects, newest first; of one study, if `study_id` is given."""
        with _as_documents_error(), self._journal.reading() as read:
            rows = read.execute(
                "SELECT * FROM documents WHERE study_id = ? OR ? IS NULL ORDER BY id DESC LIMIT ?",
                (study_id, study_id, limit),
            ).fetchall()
        return [_line(row) for row in rows]

    def find(self, number: int) -> DocumentLine | None:
        """Return one object, or None when there is none with that number."""
        with _as_documents_error(), self._journal.reading() as read:
            row = read.execute("SELECT * FROM documents WHERE id = ?", (number,)).fetchone()
        return None if row is None else _line(row)

    def given_up(self) -> list[int]:
        """Return the objects that the PACS would not have, by number."""
        with _as_documents_error(), self._journal.reading() as read:
            rows = read.execute(
                "SELECT id FROM documents WHERE refused IS NOT NULL AND about != x'' ORDER BY id"
            ).fetchall()
        return [row["id"] for row in rows]

    def opened(self, number: int, key: StudyKey) -> dict[str, Any] | None:
        """Return what was kept of one object; None when it is not here, or was erased."""
        with _as_documents_error(), self._journal.reading() as read:
            row = read.execute(
                "SELECT about FROM documents WHERE id = ? AND about != x''", (number,)
            ).fetchone()
        return None if row is None else open_json(key, row["about"])

    def standing(self) -> DocumentsStanding:
        """Return how many objects stand where."""
        with _as_documents_error(), self._journal.reading() as read:
            waiting, oldest = read.execute(
                "SELECT COUNT(*), MIN(created) FROM documents"
                " WHERE stored IS NULL AND refused IS NULL"
            ).fetchone()
            stored, refused = read.execute(
                "SELECT COUNT(stored), COUNT(CASE WHEN about != x'' THEN refused END)"
                " FROM documents"
            ).fetchone()
        return DocumentsStanding(waiting, stored, refused, oldest)


def _opened(number: int, key: StudyKey, sealed: bytes) -> dict[str, Any] | None:
    try:
        return open_json(key, sealed)
    except SealBroken as error:
        log.error("Object %d for the PACS cannot be opened: %s", number, error)
        return None


def resend_after_s(attempts: int) -> float:
    """Return how long to wait after an object came to nothing so often, in seconds."""
    first, longest = RESEND_S
    return min(longest, first * 2.0 ** min(attempts - 1, 16))


def _line(row: sqlite3.Row) -> DocumentLine:
    return DocumentLine(
        id=row["id"],
        study_id=row["study_id"],
        kind=Kind(row["kind"]),
        created=row["created"],
        attempts=row["attempts"],
        due=row["due"],
        answer=row["answer"],
        stored=row["stored"],
        refused=row["refused"],
        erased=row["about"] == b"",
    )


@contextmanager
def _as_documents_error() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise DocumentsError(f"The journal's objects for the PACS: {error}.") from error
