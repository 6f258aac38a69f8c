"""The daemon's end of the process that makes objects: starts it when wanted, ends it when idle."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection

from edge.results.order import Order

_TIMEOUT_S = 120.0
_LARGEST = 16 << 20  # bytes; a report of 48 findings has 200 kB
_LONGEST_HEAD = 4096


class NotMade(RuntimeError):
    """An object cannot be made; the text says why, and holds nothing that a file said."""


class MakerLink:
    """One maker. All methods are called from one thread, the courier's."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._used = 0.0

    @property
    def pid(self) -> int | None:
        """The maker's process id, or None when there is none."""
        return None if self._process is None else self._process.pid

    def make(self, order: Order) -> bytes:
        """Return an object as DICOM Part 10.

        Raises
        ------
        NotMade
            If none of its images can be read, or the maker died or hung on it.
        """
        connection = self._start()
        try:
            connection.send(order)
            if not connection.poll(_TIMEOUT_S):
                raise NotMade("it took too long to make")
            said = connection.recv_bytes(_LARGEST)
        except NotMade:
            self.end()
            raise
        except (EOFError, OSError) as error:
            self.end()
            raise NotMade("the process that makes objects failed on it") from error
        return _read(said)

    def rest(self, idle_s: float) -> None:
        """End a maker that nothing was asked of for so long."""
        if self._process is not None and time.monotonic() - self._used > idle_s:
            self.end()

    def end(self) -> None:
        """End the maker, if there is one."""
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if process is not None:
            process.kill()
            process.wait()
        if connection is not None:
            connection.close()

    def _start(self) -> Connection:
        self._used = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            self.end()  # it was ended from outside while it had nothing to do
        if self._connection is not None:
            return self._connection
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edge.results.maker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # a traceback can hold who the patient is
            )
        self._connection = Connection(ours.detach())
        return self._connection


def _read(said: bytes) -> bytes:
    head, _, made = said.partition(b"\n")
    try:
        facts = json.loads(head) if len(head) <= _LONGEST_HEAD else None
    except ValueError:
        facts = None
    if isinstance(facts, dict) and "problem" in facts:
        raise NotMade(str(facts["problem"])[:100])
    if not isinstance(facts, dict) or facts.get("bytes") != len(made):
        raise NotMade("the process that makes objects failed on it")
    return made
