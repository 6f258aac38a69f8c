"""A clock for tests of what happens after hours."""

from __future__ import annotations


class Clock:
    """The wall clock, moved by the test."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def time(self) -> float:
        return self.now
