"""The daemon's end of the worker: starts it, feeds it, notices when it dies or hangs."""

from __future__ import annotations

import heapq
import itertools
import logging
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from edge.alerts.topics import URGENCIES
from edge.analysis.messages import Load, Reply, Request

log = logging.getLogger("scanside.worker")

# Enough that the worker never waits for the next request, few enough that the pipe never fills.
_WINDOW = 8


@dataclass(frozen=True, slots=True)
class Replied:
    """The worker answered."""

    generation: int
    reply: Reply


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """The worker's end of the socket closed."""

    generation: int


class WorkerLink:
    """One worker at a time. All methods are called from one thread, the coordinator's.

    Parameters
    ----------
    tell : callable
        Is told `Replied` and `WorkerGone`, from the link's reading thread; must not block.
    slice_timeout_s, load_timeout_s : float
        What the worker may take for a request, and for one that loads an engine: that may take a
        slow processor longer than any slice may.
    """

    def __init__(
        self,
        tell: Callable[[Replied | WorkerGone], None],
        *,
        slice_timeout_s: float,
        load_timeout_s: float,
    ) -> None:
        self._tell = tell
        self._slice_timeout_s = slice_timeout_s
        self._load_timeout_s = load_timeout_s
        self._queue: list[tuple[int, int, Request]] = []  # a heap: the most urgent, then the first
        self._numbers = itertools.count()
        self._asked: deque[Request] = deque()
        self._asked_since = 0.0
        self.generation = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._reader: threading.Thread | None = None

    @property
    def at(self) -> Request | None:
        """The request the worker is at, or None when it is idle."""
        return self._asked[0] if self._asked else None

    @property
    def waiting(self) -> int:
        """Requests without an answer."""
        return len(self._queue) + len(self._asked)

    @property
    def pid(self) -> int | None:
        """The worker's process id, or None when there is none."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start a fresh worker; what was asked of an earlier one is forgotten."""
        self.stop()
        self.generation += 1
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edge.analysis.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._connection = Connection(ours.detach())
        self._reader = threading.Thread(
            target=_read,
            args=(self._connection, self.generation, self._tell),
            name="worker-replies",
        )
        self._reader.start()

    def ask(self, *requests: Request, urgency: str = URGENCIES[0]) -> None:
        """Queue requests: behind all that are as urgent, before those that are less.

        Whoever asks about a series says the same each time, so that its slices stay in order.
        """
        for request in requests:
            rank = URGENCIES.index(urgency)
            heapq.heappush(self._queue, (rank, next(self._numbers), request))
        self._feed()

    def answered(self) -> None:
        """Note that the oldest request has its answer, and send the next."""
        self._asked.popleft()
        self._asked_since = time.monotonic()
        self._feed()

    def end_what_hangs(self) -> None:
        """End a worker that is at one request for too long; `WorkerGone` follows."""
        if self._process is None or not self._asked:
            return
        key, limit = "slice_timeout_s", self._slice_timeout_s
        if isinstance(self._asked[0], Load):
            key, limit = "load_timeout_s", self._load_timeout_s
        if time.monotonic() - self._asked_since > limit:
            log.warning("The worker took longer than [analysis] %s, %g s: it hangs", key, limit)
            self._process.kill()

    def stop(self) -> None:
        """End the worker and join its reader."""
        self._queue.clear()
        self._asked.clear()
        if self._process is None or self._connection is None or self._reader is None:
            return
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._connection.close()
        self._process = self._connection = self._reader = None

    def _feed(self) -> None:
        while self._queue and len(self._asked) < _WINDOW and self._connection is not None:
            *_, request = heapq.heappop(self._queue)
            if not self._asked:
                self._asked_since = time.monotonic()
            self._asked.append(request)
            try:
                self._connection.send(request)
            except OSError:
                # It died; the reader says so, and the request stays at the head of the line.
                return


def _read(
    connection: Connection, generation: int, tell: Callable[[Replied | WorkerGone], None]
) -> None:
    while True:
        try:
            reply: Reply = connection.recv()
        except (EOFError, OSError):
            tell(WorkerGone(generation))
            return
        tell(Replied(generation, reply))
