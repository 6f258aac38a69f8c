"""The file of received alerts: one JSON object a line, down to the disk before the broker
may forget the message.

The file is the index, too: on start it is read once, and what it holds is known to have
been received. A line torn by a power cut is cut off; the broker sends its alert again.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from edge.key_files import sync_folder
from tools.central.seen import Seen, Standing


class StoreError(Exception):
    """The file cannot be used or written. The text names it and says what to do."""


@dataclass(frozen=True)
class Record:
    """One received alert, as it stands in the file.

    Parameters
    ----------
    received : str
        RFC 3339.
    device, site, sequence, kid, created
        From the signature.
    alert : dict
        The body.
    problem : str
        What is odd about it, although it is authentic; empty as a rule.
    """

    received: str
    device: str
    site: str
    sequence: int
    kid: str
    created: str
    alert: dict[str, Any]
    problem: str = ""

    def line(self) -> bytes:
        """Return the record as one line."""
        # In this order a person who opens the file sees first who and when.
        return json.dumps(vars(self), separators=(",", ":")).encode() + b"\n"


class AlertStore:
    """The open file. One process at a time may hold it; one thread at a time may use it.

    Parameters
    ----------
    file : Path
        Made with 0600 when absent: it holds what the seal protected.

    Raises
    ------
    StoreError
        When the file is held by another process, can be read by others, or is damaged
        in its middle.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seen = Seen()
        self.torn_bytes = 0
        self.records = 0
        self._unwritten: list[bytes] = []
        with ExitStack() as undo:
            self._stream = undo.enter_context(self._open())
            self._hold()
            self._size = self._replay()
            undo.pop_all()  # all went well: the file stays open

    def add(self, record: Record) -> Standing:
        """Take a record; it is written by the next `commit`. A repeat is not taken."""
        standing = self.seen.note(record.kid, record.sequence, record.created)
        if standing is not Standing.REPEAT:
            self._unwritten.append(record.line())
        return standing

    def commit(self) -> None:
        """Write what was taken, down to the disk.

        Raises
        ------
        StoreError
            When the disk did not take it. The file is cut back to what it was; the store
            must not be used further, for its index now knows alerts that it does not hold.
        """
        if not self._unwritten:
            return
        data = b"".join(self._unwritten)
        try:
            written = 0
            while written < len(data):  # a disk that is nearly full takes a part first
                written += self._stream.write(data[written:])
            os.fdatasync(self._stream.fileno())
        except OSError as error:
            self._cut_back()
            msg = f"{self.file} cannot be written: {error.strerror}"
            raise StoreError(msg) from error
        self._size += len(data)
        self.records += len(self._unwritten)
        self._unwritten.clear()

    def close(self) -> None:
        """Let go of the file."""
        self._stream.close()

    def _open(self) -> FileIO:
        try:
            new = not self.file.exists()
            stream = FileIO(os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
            if new:
                sync_folder(self.file.parent)
        except OSError as error:
            msg = f"{self.file} cannot be opened: {error.strerror}"
            raise StoreError(msg) from error
        return stream

    def _hold(self) -> None:
        if stat.S_IMODE(os.fstat(self._stream.fileno()).st_mode) & 0o077:
            msg = f"{self.file} can be read by others. Run: chmod 600 {self.file}"
            raise StoreError(msg)
        try:
            fcntl.flock(self._stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = f"{self.file} is in use by another scanside-central"
            raise StoreError(msg) from error

    def _replay(self) -> int:
        """Read the whole file into the index; returns the size that is good, in bytes."""
        good = 0
        bad_line = 0
        with self.file.open("rb") as reader:
            for number, line in enumerate(reader, start=1):
                if self._replay_line(line):
                    if bad_line:
                        msg = (
                            f"{self.file} line {bad_line} is damaged, with good lines after it. "
                            "Move the file away; a new one is begun."
                        )
                        raise StoreError(msg)
                    good += len(line)
                    self.records += 1
                elif not bad_line:
                    bad_line = number
        self.torn_bytes = os.fstat(self._stream.fileno()).st_size - good
        if self.torn_bytes:
            self._stream.truncate(good)
            os.fsync(self._stream.fileno())
        self._stream.seek(good)
        return good

    def _replay_line(self, line: bytes) -> bool:
        if not line.endswith(b"\n"):
            return False
        try:
            record = json.loads(line)
            self.seen.note(record["kid"], record["sequence"], record["created"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return False
        return True

    def _cut_back(self) -> None:
        try:
            self._stream.truncate(self._size)
        except OSError:
            return  # the next start finds the torn line and cuts it off
