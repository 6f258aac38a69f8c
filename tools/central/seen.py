"""Which alerts of a device have been seen. No I/O: the store replays its file into this.

Sequences are kept as ranges, so memory grows with the gaps and not with the alerts.
They count per signing key: a device that is set up anew begins at 1 with a new key, and
must not be taken for a repeat of its former self.

A device whose journal was lost while its key was kept also begins at 1 again. Its alerts
are told from repeats by their signed time: a true repeat was made no later than the
latest alert already seen. From the first that was made later, a new run is counted.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from enum import Enum


class Standing(Enum):
    """What a sequence number says of an alert."""

    NEW = "new"
    REPEAT = "repeat"
    RESTARTED = "restarted"  # new, and the device counts from the beginning again


@dataclass
class Ranges:
    """A set of integers as sorted, disjoint, inclusive ranges that do not touch."""

    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def __contains__(self, number: int) -> bool:
        """Return whether the number is in a range."""
        at = bisect_right(self.starts, number) - 1
        return at >= 0 and number <= self.ends[at]

    def add(self, number: int) -> None:
        """Add a number that is not in yet."""
        at = bisect_right(self.starts, number)
        joins_left = at > 0 and self.ends[at - 1] == number - 1
        joins_right = at < len(self.starts) and self.starts[at] == number + 1
        if joins_left and joins_right:
            self.ends[at - 1] = self.ends.pop(at)
            del self.starts[at]
        elif joins_left:
            self.ends[at - 1] = number
        elif joins_right:
            self.starts[at] = number
        else:
            self.starts.insert(at, number)
            self.ends.insert(at, number)

    def missing(self) -> int:
        """Return how many numbers lie in the gaps."""
        return sum(start - end - 1 for start, end in zip(self.starts[1:], self.ends, strict=False))


@dataclass
class _Run:
    """One count of a device from its beginning: the alerts made after `after`."""

    after: str
    latest: str
    ranges: Ranges


class Seen:
    """The alerts seen, of every device."""

    def __init__(self) -> None:
        self._runs: dict[str, list[_Run]] = {}  # by the kid of the signing key

    def note(self, kid: str, sequence: int, created: str) -> Standing:
        """Say what this alert is, and remember it.

        Parameters
        ----------
        kid : str
            Thumbprint of the key that signed it.
        sequence : int
        created : str
            RFC 3339 in the fixed form, which sorts as text.
        """
        runs = self._runs.setdefault(kid, [_Run("", "", Ranges())])
        run = next((run for run in reversed(runs) if created > run.after), runs[0])
        standing = Standing.NEW
        if sequence in run.ranges:
            if run is not runs[-1] or created <= run.latest:
                return Standing.REPEAT
            run = _Run(run.latest, "", Ranges())
            runs.append(run)
            standing = Standing.RESTARTED
        run.ranges.add(sequence)
        run.latest = max(run.latest, created)
        return standing

    def missing(self, kid: str) -> int:
        """Return how many alerts between the first and the last seen have not come (yet)."""
        return sum(run.ranges.missing() for run in self._runs.get(kid, []))
