"""The audit: who did what, when, in a chain that shows every later change.

It is a table of the journal, not a file beside it: what was decided and the entry that says
so are one transaction, so neither stands without the other, and nothing waits for a second
write to the disk. Entries are numbered from 1 without a gap. Each holds the SHA-256 of the
one before it, so that one that is changed, taken out or put in breaks the chain.

A chain alone does not show that its end was cut off. Therefore

* the head, its number and digest, is signed with the device's key at every entry, and
* each sealed alert carries the head as it was (`anchor`): whoever has an alert, on this device
  or at a central server, knows entries that must still be there, whatever is done here.

Nothing in an entry says who a patient is: studies and alerts are named by their numbers.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

from edge.jose.envelope import SealError
from edge.jose.signature import Statement
from edge.keys import SigningKey, TrustedDevices
from edge.store.journal import Journal
from edge.timestamps import parse_rfc3339, rfc3339

HEAD = Statement("scanside-audit-head+jws", {"created": str, "seq": int})

DAEMON = "daemon"  # who, when nobody asked for it
_BEFORE_THE_FIRST = bytes(32)
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Act:
    """Something that was done or refused.

    Parameters
    ----------
    who : str
        ``daemon``, ``cli:root``, or ``console:NAME (ROLE)``.
    what : str
        A verb in words with a dot: ``alert.made``, ``study.viewed``, ``keys.rotated``.
    on : str
        Numbers and thumbprints: ``study:12``, ``alert:7``, ``key:TqK7...``; never a patient, and no
        name but that in a machine's certificate.
    outcome : str
        ``done``, or why not.
    """

    who: str
    what: str
    on: str = ""
    outcome: str = "done"


@dataclass(frozen=True, slots=True)
class Entry:
    """An act in the chain. `digest`: SHA-256 of the entry and of all before it, in hex."""

    number: int
    when: str
    act: Act
    digest: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """How far the audit had come: so many entries, and the digest of the last (hex)."""

    entries: int
    digest: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of the whole chain found. `problems` is empty when all is as it was written."""

    entries: int
    anchors: int
    problems: tuple[str, ...]


class Audit:
    """Writes entries; threads and processes may share a journal.

    Parameters
    ----------
    journal : Journal
    signer : callable
        Returns the device's signing key of the moment.
    """

    def __init__(self, journal: Journal, signer: Callable[[], SigningKey]) -> None:
        self._journal = journal
        self._signer = signer

    def note(self, act: Act) -> Anchor:
        """Write an entry, durably; within a transaction of the journal it is part of it.

        Returns
        -------
        Anchor
            The head that this entry is.
        """
        act = Act(*(_clean(text) for text in asdict(act).values()))
        now = rfc3339(datetime.now(timezone.utc))
        with self._journal.transaction() as write:
            before = _last(write)
            digest = _digest(before.digest if before else "", _number(before), now, act)
            entry = Entry(_number(before), now, act, digest.hex())
            write.execute(
                "INSERT INTO audit (number, moment, who, what, target, outcome, digest)"
                " VALUES (?,?,?,?,?,?,?)",
                (entry.number, now, act.who, act.what, act.on, act.outcome, digest),
            )
            write.execute("REPLACE INTO audit_head (id, head) VALUES (1, ?)", (self._sign(entry),))
        return Anchor(entry.number, entry.digest)

    def _sign(self, entry: Entry) -> bytes:
        claims = {"created": entry.when, "seq": entry.number}
        return HEAD.sign(json.dumps({"digest": entry.digest}).encode(), claims, self._signer())


def latest_moments(journal: Journal, what: str) -> dict[str, float]:
    """Return when this was last done to each thing; seconds since the epoch, by the thing."""
    with journal.reading() as read:
        rows = read.execute(
            "SELECT target, moment FROM audit WHERE what = ? ORDER BY number", (what,)
        )
        return {row["target"]: parse_rfc3339(row["moment"]).timestamp() for row in rows}


def read_entries(journal: Journal, limit: int) -> list[Entry]:
    """Return the latest entries, newest first."""
    with journal.reading() as read:
        rows = read.execute("SELECT * FROM audit ORDER BY number DESC LIMIT ?", (limit,)).fetchall()
    return [_entry(row) for row in rows]


def count_entries(journal: Journal) -> int:
    """Return how many entries there are: the number of the last."""
    with journal.reading() as read:
        last = _last(read)
    return last.number if last else 0


def verify(journal: Journal, trusted: TrustedDevices, anchors: Iterable[Anchor] = ()) -> Verdict:
    """Walk the whole chain.

    Parameters
    ----------
    journal : Journal
    trusted : TrustedDevices
        Whose signature under the head counts: the device itself, with its former keys.
    anchors : iterable of Anchor
        From alerts, here or at a central server.
    """
    with journal.reading() as read:
        problems = list(_broken_links(read))
        last = _last(read)
        problems += _head_problems(read, last, trusted)
        known = list(anchors)
        problems += _missing_anchors(read, known)
    return Verdict(last.number if last else 0, len(known), tuple(problems))


def _broken_links(read: sqlite3.Connection) -> Iterator[str]:
    before, number = "", 1
    for row in read.execute("SELECT * FROM audit ORDER BY number"):
        entry = _entry(row)
        if entry.number != number:
            yield f"{_entries(number, entry.number - 1)} missing"
        if _digest(before, entry.number, entry.when, entry.act).hex() != entry.digest:
            yield f"entry {entry.number} is not as it was written, or not what followed"
        before, number = entry.digest, entry.number + 1


def _head_problems(
    read: sqlite3.Connection, last: Entry | None, trusted: TrustedDevices
) -> Iterator[str]:
    row = read.execute("SELECT head FROM audit_head").fetchone()
    if row is None:
        if last is not None:
            yield "the signed head is missing"
        return
    try:
        header = HEAD.read_header(row["head"])
        device = trusted.find(header["kid"])
        if device is None:
            yield "the head is signed by a key that is not this device's"
            return
        body = json.loads(HEAD.verify(row["head"], device.key))
    except (SealError, ValueError):
        yield "the signed head is damaged"
        return
    written = header["seq"]
    if last is None or last.number < written:
        first = last.number + 1 if last else 1
        yield f"{_entries(first, written)} missing at the end"
    elif (last.number, last.digest) != (written, body["digest"]):
        yield f"the last entry is {last.number}, the signed head says another at {written}"


def _missing_anchors(read: sqlite3.Connection, anchors: Iterable[Anchor]) -> Iterator[str]:
    for anchor in anchors:
        row = read.execute(
            "SELECT digest FROM audit WHERE number = ?", (anchor.entries,)
        ).fetchone()
        if row is None or bytes(row["digest"]).hex() != anchor.digest:
            yield f"an alert knows an entry {anchor.entries} that is not in this audit"


def _last(read: sqlite3.Connection) -> Entry | None:
    row = read.execute("SELECT * FROM audit ORDER BY number DESC LIMIT 1").fetchone()
    return None if row is None else _entry(row)


def _number(before: Entry | None) -> int:
    return before.number + 1 if before else 1


def _entries(first: int, last: int) -> str:
    return f"entry {first} is" if first == last else f"entries {first} to {last} are"


def _entry(row: sqlite3.Row) -> Entry:
    act = Act(row["who"], row["what"], row["target"], row["outcome"])
    return Entry(row["number"], row["moment"], act, bytes(row["digest"]).hex())


def _digest(before: str, number: int, when: str, act: Act) -> bytes:
    said = json.dumps([number, when, *asdict(act).values()], separators=(",", ":")).encode()
    return hashlib.sha256((bytes.fromhex(before) or _BEFORE_THE_FIRST) + said).digest()


def _clean(text: str) -> str:
    """Return a text without what a terminal would obey, and no longer than an entry holds."""
    return "".join(one if one.isprintable() else "?" for one in text[:_LONGEST])
