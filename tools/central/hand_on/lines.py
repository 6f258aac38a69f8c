"""A file with a JSON line an alert, for whoever reads files.

A line is on the disk before the alert leaves the queue. After a crash between the two, the end of
the file says which lines are there already. The file may be moved away at any time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from tools.central.hand_on.item import HandOnError, Item, dump

_TAIL = 8 * 1024 * 1024  # bytes; more than one round of the longest alerts


class LinesTarget:
    """Appends to a file, made with 0600: it holds what the seal protected."""

    name = "lines"
    at_once = 64
    takes_events = True

    def __init__(self, file: Path) -> None:
        self._file = file
        self._looked = False

    def give(self, items: Sequence[Item]) -> None:
        """Append the items that are not there yet; see `Target`."""
        try:
            with os.fdopen(
                os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b"
            ) as stream:
                there = set() if self._looked else _mend(stream.fileno())
                new = [line for line in map(_line, items) if line not in there]
                stream.seek(0, os.SEEK_END)
                stream.write(b"".join(new))
                stream.flush()
                os.fdatasync(stream.fileno())
        except OSError as error:
            msg = f"{self._file} cannot be written: {error.strerror}"
            raise HandOnError(msg) from error
        self._looked = True


def _line(item: Item) -> bytes:
    return dump(item.document).encode() + b"\n"


def _mend(descriptor: int) -> set[bytes]:
    """Cut a torn last line off; return the lines at the end of the file."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - _TAIL)
    tail = os.pread(descriptor, size - start, start)
    lines = tail.splitlines(keepends=True)
    if lines and not _is_whole(lines[-1]):
        os.ftruncate(descriptor, size - len(lines.pop()))
    return set(lines)


def _is_whole(line: bytes) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
