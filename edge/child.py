"""A process of our own that answers one question at a time, at both ends of its socket.

It is asked in pickles, by the daemon; it answers in bytes with a line of JSON before them, because
the daemon must not unpickle what a process says that opened strangers' files.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

MEMORY = 3 << 30  # bytes of address space: a file that wants more ends this process, nothing else
_LONGEST_HEAD = 4096
_LONGEST_PROBLEM = 100


class ChildError(RuntimeError):
    """A child gave no answer that can be used."""


class ChildSlow(ChildError):
    """It took too long, and was ended."""


class ChildDied(ChildError):
    """It died, or its socket did, and it was ended."""


class Problem(ChildError):
    """It says why there is no answer; the text is in its own words."""


class Child:
    """The daemon's end: starts the process when it is wanted, ends it when it is idle.

    Parameters
    ----------
    module : str
        What to run; its `main` ends in `serve`.
    quiet : bool
        Whether what it writes to standard error is thrown away.
    """

    def __init__(self, module: str, *, quiet: bool = False) -> None:
        self._module = module
        self._quiet = quiet
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._used = 0.0

    @property
    def pid(self) -> int | None:
        """Its process id, or None when there is none."""
        return None if self._process is None else self._process.pid

    @property
    def died(self) -> bool:
        """Whether it was ended from outside, and that was not noticed yet."""
        return self._process is not None and self._process.poll() is not None

    def start(self) -> Connection:
        """Start the process if there is none, and return its socket."""
        self._used = time.monotonic()
        if self._connection is not None:
            return self._connection
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL if self._quiet else None,
            )
        self._connection = Connection(ours.detach())
        return self._connection

    def ask(
        self, question: object, *, timeout_s: float, largest: int
    ) -> tuple[dict[str, Any], bytes]:
        """Return the facts of an answer, and the bytes behind them.

        Parameters
        ----------
        question : object
            Can be pickled.
        timeout_s : float
        largest : int
            Bytes of an answer.

        Raises
        ------
        ChildSlow, ChildDied
            If there is no answer; the process is ended then.
        Problem
            If the answer is that there is none.
        ChildError
            If the answer is none of this protocol.
        """
        connection = self.start()
        try:
            connection.send(question)
            if connection.poll(timeout_s):
                return _read(connection.recv_bytes(largest))
        except (EOFError, OSError) as error:
            self.end()
            raise ChildDied from error
        self.end()
        raise ChildSlow

    def rest(self, idle_s: float) -> bool:
        """End a process that nobody asked for so long; return whether it was ended."""
        idle = self._process is not None and time.monotonic() - self._used > idle_s
        if idle:
            self.end()
        return idle

    def end(self) -> None:
        """End the process, if there is one."""
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if process is not None:
            process.kill()
            process.wait()
        if connection is not None:
            connection.close()


def _read(said: bytes) -> tuple[dict[str, Any], bytes]:
    head, _, rest = said.partition(b"\n")
    try:
        facts = json.loads(head) if len(head) <= _LONGEST_HEAD else None
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        raise ChildError
    if "problem" in facts:
        raise Problem(str(facts["problem"])[:_LONGEST_PROBLEM])
    return facts, rest


def confine(nice: int) -> None:
    """Bound what this process, a child, may take; the daemon decides when it ends.

    Parameters
    ----------
    nice : int
        How far it steps back behind the analysis.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold a patient's image
    os.nice(nice)


def serve(answer: Callable[[Any], bytes]) -> None:
    """Answer the daemon at the other end of the socket whose number is the one argument."""
    with Connection(int(sys.argv[1])) as daemon, suppress(EOFError, ConnectionError):
        while True:
            daemon.send_bytes(answer(daemon.recv()))
    os._exit(0)


def said(facts: dict[str, object], rest: bytes = b"") -> bytes:
    """Return an answer as `Child.ask` reads it; ``problem`` says why there is none."""
    return json.dumps(facts).encode() + b"\n" + rest
