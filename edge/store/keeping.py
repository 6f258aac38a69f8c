"""How long studies are kept, what they take, which go next and which were erased. Reads only."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from edge.config import Storage
from edge.store.ages import Age, ages
from edge.store.journal import Journal

_AT_ONCE = 100
_GRACE_S = 86400.0
# What stands in the way of an erasure that nobody asked for, as far as the journal knows: as
# `edge.store.erasure.hindrance` has it.
_SETTLED = """
    SELECT id FROM studies
    WHERE state != 'erased' AND state IN ('decided', 'quarantined') AND id > ?
        AND NOT EXISTS (SELECT 1 FROM outbox WHERE study_id = studies.id
            AND settled IS NULL AND lapsed IS NULL)
        AND NOT EXISTS (SELECT 1 FROM feedback WHERE study_id = studies.id
            AND published IS NULL AND sealed != x'')
        AND NOT EXISTS (SELECT 1 FROM documents WHERE study_id = studies.id
            AND stored IS NULL AND refused IS NULL)
    ORDER BY id LIMIT ?
"""

_HELD = """
    SELECT studies.id, pseudonym, first_byte, last_byte,
        (SELECT COUNT(*) FROM instances JOIN series ON series.id = series_id
            WHERE study_id = studies.id) AS images,
        (SELECT TOTAL(segment_end) FROM series WHERE study_id = studies.id) AS bytes
    FROM studies WHERE state != 'erased' {} ORDER BY studies.id
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """How long studies are kept; None: without end.

    Parameters
    ----------
    seconds : float or None
        From a study's last image on.
    bytes : int or None
        That all images together may take on the disk.
    """

    seconds: float | None
    bytes: int | None

    @classmethod
    def of(cls, storage: Storage) -> Rule:
        """Return what ``[storage] keep_days`` and ``keep_gb`` say."""
        days, gigabytes = storage.keep_days, storage.keep_gb
        return cls(
            None if days is None else days * 86400,
            None if gigabytes is None else int(gigabytes * 1e9),
        )


@dataclass(frozen=True, slots=True)
class Until:
    """Until when a study is kept because of its age.

    Parameters
    ----------
    moment : float
        Seconds since the epoch.
    at_least : bool
        Whether the clock was wrong when it came: it may be kept for longer, and never for less.
    """

    moment: float
    at_least: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """What the studies take that are here."""

    studies: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Held:
    """A study that is here, as far as is known without its key. Times are seconds since the epoch.

    `bytes` is what its images take on the disk.
    """

    study_id: int
    pseudonym: str
    first_byte: float
    last_byte: float
    images: int
    bytes: int


@dataclass(frozen=True, slots=True)
class OrderLine:
    """An order to erase a study, and how far it has come. Times are seconds since the epoch.

    Parameters
    ----------
    number : int
        Of the order.
    study_id : int
    who, reason : str
        `edge.store.erasure.OWN` is the appliance itself, by its rule.
    asked : float
    refused : str or None
        Why not: a `edge.store.erasure.Hindrance`, or what an earlier Scanside wrote.
    removed : float or None
        When it was gone from the disk.
    """

    number: int
    study_id: int
    who: str
    reason: str
    asked: float
    refused: str | None
    removed: float | None


def held(journal: Journal, studies: Iterable[int]) -> list[Held]:
    """Return those of some studies that are here, in the order they came."""
    with journal.reading() as read:
        rows = read.execute(
            _HELD.format("AND studies.id IN (SELECT value FROM json_each(?))"),
            (json.dumps(list(studies)),),
        ).fetchall()
    return [_held(row) for row in rows]


def oldest(journal: Journal, limit: int) -> list[Held]:
    """Return the studies that came first of those that are here."""
    with journal.reading() as read:
        rows = read.execute(_HELD.format("") + " LIMIT ?", (limit,)).fetchall()
    return [_held(row) for row in rows]


def latest(journal: Journal, limit: int) -> list[int]:
    """Return the latest studies by number, erased ones among them, the newest first."""
    with journal.reading() as read:
        rows = read.execute("SELECT id FROM studies ORDER BY id DESC LIMIT ?", (limit,)).fetchall()
    return [row["id"] for row in rows]


def orders(journal: Journal, numbers: Iterable[int]) -> list[OrderLine]:
    """Return some orders to erase a study."""
    some = "SELECT * FROM erasures WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
    return _orders(journal, some, json.dumps(list(numbers)))


def latest_orders(journal: Journal, limit: int) -> list[OrderLine]:
    """Return the latest orders to erase a study, the newest first."""
    return _orders(journal, "SELECT * FROM erasures ORDER BY id DESC LIMIT ?", limit)


def _orders(journal: Journal, query: str, value: str | int) -> list[OrderLine]:
    with journal.reading() as read:
        rows = read.execute(query, (value,)).fetchall()
    return [
        OrderLine(
            row["id"],
            row["study_id"],
            row["who"],
            row["reason"],
            row["asked"],
            row["refused"],
            row["removed"],
        )
        for row in rows
    ]


def _held(row: sqlite3.Row) -> Held:
    return Held(
        row["id"],
        row["pseudonym"],
        row["first_byte"],
        row["last_byte"],
        row["images"],
        int(row["bytes"]),
    )


def usage(journal: Journal) -> Usage:
    """Return what the studies that are not erased take on the disk."""
    with journal.reading() as read:
        row = read.execute(
            "SELECT COUNT(*) AS studies,"
            " (SELECT TOTAL(segment_end) FROM series) AS bytes"
            " FROM studies WHERE state != 'erased'"
        ).fetchone()
    return Usage(row["studies"], int(row["bytes"]))


def kept_until(come: Mapping[int, Age], rule: Rule) -> Mapping[int, Until]:
    """Return until when each study is kept, by number; none where there is no end.

    `come` is from `edge.store.ages.ages`.
    """
    if rule.seconds is None:
        return {}
    return {study: Until(age.latest + rule.seconds, age.doubted) for study, age in come.items()}


def since(come: Mapping[int, Age]) -> float | None:
    """Return when the first of some studies came, seconds since the epoch; None: there is none."""
    first = next(iter(come.values()), None)
    return None if first is None else first.came


def overdue(come: Mapping[int, Age], rule: Rule, now: float) -> int:
    """Return how many studies would have gone by their age, but for what holds them.

    A day is given: whoever has to acknowledge, or to receive, may be late.
    """
    if rule.seconds is None:
        return 0
    due = now - rule.seconds - _GRACE_S
    return sum(age.latest < due for age in come.values())


def to_go(journal: Journal, rule: Rule, now: float) -> Iterator[tuple[int, str]]:
    """Yield studies that are kept no longer, by number and with the reason, the oldest first.

    Those that are not decided, or of which central or the PACS has not had all, are left out.
    Because of their size studies are named for as long as all together take too much: whoever takes
    them one by one, and erases them, takes no more than needed.

    Parameters
    ----------
    journal : Journal
    rule : Rule
    now : float
        Seconds since the epoch.
    """
    last, come = 0, ages(journal, now)
    while found := _settled(journal, last):
        for study_id in found:
            last = study_id
            age = come.get(study_id)
            if age is None:
                return  # it came since, and so did those after it
            if rule.seconds is not None and age.latest < now - rule.seconds:
                yield study_id, f"keep_days = {rule.seconds / 86400:g}"
            elif rule.bytes is not None and usage(journal).bytes > rule.bytes:
                yield study_id, f"keep_gb = {rule.bytes / 1e9:g}"
            elif rule.seconds is None or age.came >= now - rule.seconds:
                return  # those that came later are younger still


def _settled(journal: Journal, after: int) -> list[int]:
    with journal.reading() as read:
        rows = read.execute(_SETTLED, (after, _AT_ONCE)).fetchall()
    return [row["id"] for row in rows]
