"""The daemon's end of the console's decoder: starts it when wanted, ends it when idle."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

from edge.console.decoder import Wanted

log = logging.getLogger("scanside.console")

_TIMEOUT_S = 30.0
_LARGEST_ANSWER = 64 << 20  # bytes
_LONGEST_HEAD = 4096


class Undecodable(RuntimeError):
    """A frame cannot be shown; the text says why, and holds nothing that a file said."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame for the browser: its facts as JSON (`frames.FrameFacts`) and its packed pixels."""

    facts: str
    packed: bytes


class DecoderLink:
    """One decoder. Threads may share it: they are served one after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below: one question at a time
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._used = 0.0

    @property
    def pid(self) -> int | None:
        """The decoder's process id, or None when there is none."""
        with self._lock:
            return None if self._process is None else self._process.pid

    def warm(self) -> None:
        """Start the decoder if there is none; it loads its libraries while nobody waits."""
        with self._lock:
            self._start()

    def decode(self, wanted: Wanted) -> Decoded:
        """Return a frame.

        Raises
        ------
        Undecodable
            If its pixels cannot be read, or the decoder died or hung on them.
        """
        with self._lock:
            connection = self._start()
            try:
                connection.send(wanted)
                if not connection.poll(_TIMEOUT_S):
                    raise Undecodable("it took too long to decode")
                said = connection.recv_bytes(_LARGEST_ANSWER)
            except Undecodable:
                self._end()
                raise
            except (EOFError, OSError) as error:
                self._end()
                log.warning("The console's decoder died on an image")
                raise Undecodable("the decoder failed on it") from error
        return _read(said)

    def rest(self, idle_s: float) -> bool:
        """End a decoder that nobody asked for so long; return whether it was ended.

        An idle appliance needs its memory for other things.
        """
        with self._lock:
            idle = self._process is not None and time.monotonic() - self._used > idle_s
            if idle:
                self._end()
            return idle

    def close(self) -> None:
        """End the decoder."""
        with self._lock:
            self._end()

    def _start(self) -> Connection:
        self._used = time.monotonic()
        if self._connection is not None:
            return self._connection
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edge.console.decoder", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._connection = Connection(ours.detach())
        return self._connection

    def _end(self) -> None:
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if process is not None:
            process.kill()
            process.wait()
        if connection is not None:
            connection.close()


def _read(said: bytes) -> Decoded:
    head, _, packed = said.partition(b"\n")
    try:
        facts = json.loads(head) if len(head) <= _LONGEST_HEAD else None
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        raise Undecodable("the decoder failed on it")
    if "problem" in facts:
        raise Undecodable(str(facts["problem"])[:100])
    return Decoded(json.dumps(facts, separators=(",", ":")), packed)
