"""Which studies were erased while the console runs: nothing that comes late of them is kept."""

from __future__ import annotations

import threading


class Gone:
    """Numbers of erased studies, which are given once. Threads may share it.

    A memory asks it under its own lock before it keeps something, and drops what it has after
    `add`: so whatever was read before the erasure is dropped or never kept.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the numbers
        self._studies: set[int] = set()

    def add(self, study: int) -> None:
        """Remember that a study was erased."""
        with self._lock:
            self._studies.add(study)

    def __contains__(self, study: int) -> bool:
        """Return whether a study was erased."""
        with self._lock:
            return study in self._studies
