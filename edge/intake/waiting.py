"""An association's two threads wait for what comes; pynetdicom's look a thousand times a second.

The connection's thread waits for bytes to read and for messages to send, the association's for
messages that came. Each comes round by itself, too, for the timers that nobody rings for.
"""

from __future__ import annotations

import os
import queue
import select
import socket
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pynetdicom.association import Association

ROUND_S = 0.05
_BRIEFLY_S = 1e-4  # what pynetdicom pauses between two rounds, beside our waiting


class Call:
    """Something another thread rings for while this one waits for a connection."""

    def __init__(self) -> None:
        self._file = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._changed = threading.Lock()  # guards _open: a number that was closed is another's next
        self._open = True

    def ring(self) -> None:
        """End the wait that is under way, or the next one."""
        with self._changed:
            if self._open:
                os.eventfd_write(self._file, 1)

    def wait(self, connection: socket.socket, seconds: float) -> bool:
        """Return whether a connection can be read, at the latest after `seconds` or a ring.

        Raises
        ------
        OSError, ValueError
            If the connection is closed.
        """
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        if self._open:
            poll.register(self._file, select.POLLIN)
        number = connection.fileno()
        found = poll.poll(seconds * 1000)
        with self._changed:
            if self._open and any(file == self._file for file, _ in found):
                os.eventfd_read(self._file)
        return any(file == number for file, _ in found)

    def close(self) -> None:
        """Let go of the file; nobody is rung for any more."""
        with self._changed:
            if self._open:
                self._open = False
                os.close(self._file)


class _RingingQueue(queue.Queue[Any]):
    """A queue that rings when something is put into it."""

    def __init__(self, ring: Callable[[], None]) -> None:
        super().__init__()
        self._ring = ring

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._ring()


class _Checkpoint(threading.Event):
    """Where an association's thread stops in each round: it waits here until there is work."""

    def __init__(self, came: threading.Event, queues: tuple[queue.Queue[Any], ...]) -> None:
        super().__init__()
        self._came = came
        self._queues = queues

    def wait(self, timeout: float | None = None) -> bool:
        super().wait(timeout)
        self._came.clear()
        if all(one.empty() for one in self._queues):
            self._came.wait(ROUND_S)
        return super().wait(timeout)


def have_wait(association: Association, call: Call) -> None:
    """Have the threads of an accepted association wait; neither may have begun.

    Parameters
    ----------
    association : pynetdicom.association.Association
    call : Call
        Its socket's `ready` waits for it.
    """
    came = threading.Event()
    dul, dimse = association.dul, association.dimse
    dul.to_provider_queue = _RingingQueue(call.ring)
    dul.to_user_queue = _RingingQueue(came.set)
    dimse.msg_queue = _RingingQueue(came.set)
    dul._run_loop_delay = _BRIEFLY_S
    checkpoint = _Checkpoint(came, (dul.to_user_queue, dimse.msg_queue))
    checkpoint.set()
    association._reactor_checkpoint = checkpoint


def readable(connection: socket.socket, call: Call, *, patient: bool) -> bool:
    """Return whether a connection can be read, after a wait if `patient`; raises as `Call.wait`."""
    # TLS may hold what it has read already, of which the system knows nothing.
    if isinstance(connection, ssl.SSLSocket) and connection.pending():
        return True
    return call.wait(connection, ROUND_S if patient else 0.0)
