"""When a file rests: nobody has changed it for a while."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Sight:
    """A file as it was seen: which it is, how large, when it and its rights changed (ns)."""

    inode: int
    size: int
    changed: int
    rights: int

    @classmethod
    def of(cls, seen: os.stat_result) -> Sight:
        """Return what tells that a file has not changed."""
        return cls(seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)

    def same_content(self, other: Sight | None) -> bool:
        """Return whether at most the rights differ from another sight of it."""
        return other is not None and replace(other, rights=self.rights) == self


@dataclass(frozen=True, slots=True)
class Resting:
    """Since when (monotonic, seconds) a file looks as it does."""

    sight: Sight
    since: float

    def seen(self, sight: Sight, now: float) -> Resting:
        """Return it after another look."""
        return self if sight == self.sight else Resting(sight, now)

    def rests(self, now: float, quiet_s: float) -> bool:
        """Return whether it has not changed for so long."""
        return now - self.since >= quiet_s
