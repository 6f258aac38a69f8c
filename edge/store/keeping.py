"""How long studies are kept, how much they take, and which are the next to go. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edge.config import Storage
from edge.store.journal import Journal

_AT_ONCE = 100
_GRACE_S = 86400.0
# What stands in the way of an erasure that nobody asked for, as far as the journal knows: as
# `edge.store.erasure.hindrance` has it.
_SETTLED = """
    SELECT id, first_byte, last_byte FROM studies
    WHERE state != 'erased' AND state IN ('decided', 'quarantined') AND id > ?
        AND NOT EXISTS (SELECT 1 FROM outbox WHERE study_id = studies.id
            AND settled IS NULL AND lapsed IS NULL)
        AND NOT EXISTS (SELECT 1 FROM feedback WHERE study_id = studies.id
            AND published IS NULL AND sealed != x'')
        AND NOT EXISTS (SELECT 1 FROM documents WHERE study_id = studies.id
            AND stored IS NULL AND refused IS NULL)
    ORDER BY id LIMIT ?
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

    def until(self, last_byte: float) -> float | None:
        """Return until when a study is kept, seconds since the epoch; None: without end."""
        return None if self.seconds is None else last_byte + self.seconds


@dataclass(frozen=True, slots=True)
class Usage:
    """What the studies take that are here. `oldest`: when the first of them came; None: none is."""

    studies: int
    bytes: int
    oldest: float | None


@dataclass(frozen=True, slots=True)
class Kept:
    """A study that central has had all of. Times are seconds since the epoch."""

    study_id: int
    first_byte: float
    last_byte: float


def usage(journal: Journal) -> Usage:
    """Return what the studies that are not erased take on the disk."""
    with journal.reading() as read:
        row = read.execute(
            "SELECT COUNT(*) AS studies, MIN(first_byte) AS oldest,"
            " (SELECT TOTAL(segment_end) FROM series) AS bytes"
            " FROM studies WHERE state != 'erased'"
        ).fetchone()
    return Usage(row["studies"], int(row["bytes"]), row["oldest"])


def overdue(journal: Journal, rule: Rule, now: float) -> int:
    """Return how many studies are here that would have gone by their age, but for what holds them.

    A day is given: whoever has to acknowledge, or to receive, may be late.
    """
    if rule.seconds is None:
        return 0
    with journal.reading() as read:
        (held,) = read.execute(
            "SELECT COUNT(*) FROM studies WHERE state != 'erased' AND last_byte < ?",
            (now - rule.seconds - _GRACE_S,),
        ).fetchone()
    return int(held)


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
    last = 0
    while found := _settled(journal, last):
        for kept in found:
            last = kept.study_id
            if rule.seconds is not None and kept.last_byte < now - rule.seconds:
                yield kept.study_id, f"keep_days = {rule.seconds / 86400:g}"
            elif rule.bytes is not None and usage(journal).bytes > rule.bytes:
                yield kept.study_id, f"keep_gb = {rule.bytes / 1e9:g}"
            elif kept.first_byte > now:
                continue  # it came while the clock was wrong, and says nothing of later ones
            elif rule.seconds is None or kept.first_byte >= now - rule.seconds:
                return  # those that came later are younger still


def _settled(journal: Journal, after: int) -> list[Kept]:
    with journal.reading() as read:
        rows = read.execute(_SETTLED, (after, _AT_ONCE)).fetchall()
    return [Kept(*row) for row in rows]
