"""What a central server keeps of an alert, and how a new one stands to what it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Standing(Enum):
    """What an alert is to the server that has just opened it."""

    NEW = "new"
    REPEAT = "repeat"
    RESTARTED = "restarted"  # new, and the device counts from the beginning again


@dataclass(frozen=True)
class Record:
    """One authentic alert.

    Parameters
    ----------
    received : str
        When it came, RFC 3339.
    device, site, sequence, kid, created
        From the signature.
    lineage : str
        The first key of the chain of keys that the signing key belongs to: a device that rotates
        its keys goes on counting, one that is set up anew begins again.
    alert_id, urgency, digest : str
        The digest is of the signed body.
    body : str
        JSON, as it was signed.
    problem : str
        What is odd about it, although it is authentic; empty as a rule.
    """

    received: str
    device: str
    site: str
    sequence: int
    kid: str
    lineage: str
    created: str
    alert_id: str
    urgency: str
    digest: str
    body: str
    problem: str = ""


@dataclass(frozen=True)
class Kept:
    """What became of a record.

    Parameters
    ----------
    standing : Standing
    stored : str
        When it was first stored, RFC 3339.
    missing : int
        Alerts of this device between its first and its last that have not come (yet).
    """

    standing: Standing
    stored: str
    missing: int


@dataclass
class Count:
    """How far a device has counted, in one run from the beginning."""

    lineage: str
    run: int
    after: str
    latest: str
    lowest: int
    highest: int
    held: int
    gap_since: str | None
    site: str
    device: str
    changed: bool = False

    @property
    def missing(self) -> int:
        """How many numbers between the lowest and the highest have not come."""
        return self.highest - self.lowest + 1 - self.held if self.held else 0

    def take(self, record: Record) -> None:
        """Count an alert that was not there."""
        self.lowest = min(self.lowest, record.sequence) if self.held else record.sequence
        self.highest = max(self.highest, record.sequence)
        self.latest = max(self.latest, record.created)
        self.held += 1
        self.gap_since = (self.gap_since or record.received) if self.missing else None
        self.changed = True


@dataclass(frozen=True)
class Placed:
    """Where a record belongs: in which run, or which stored moment it repeats."""

    standing: Standing
    run: int
    stored: str = ""


# (run, sequence) of one lineage: digest and when it was stored.
Held = dict[tuple[int, int], tuple[str, str]]


def place(record: Record, counts: Sequence[Count], held: Held) -> Placed:
    """Say what a record is, given the runs of its lineage and what is held of its number.

    A repeat is the same signed body again. The same number over another body is a device that
    counts from the beginning: its journal was lost, or put back from a backup. An alert belongs
    to the latest run that had begun when it was made.

    Parameters
    ----------
    record : Record
    counts : sequence of Count
        Oldest first, at least one.
    held : mapping
        What is stored under this sequence, by run.
    """
    for count in counts:
        digest, stored = held.get((count.run, record.sequence), ("", ""))
        if digest == record.digest:
            return Placed(Standing.REPEAT, count.run, stored)
    begun = [count for count in counts if record.created > count.after] or counts[:1]
    for count in (begun[-1], counts[-1]):
        if (count.run, record.sequence) not in held:
            return Placed(Standing.NEW, count.run)
    return Placed(Standing.RESTARTED, counts[-1].run + 1)
