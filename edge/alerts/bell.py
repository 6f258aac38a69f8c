"""A bell: how one thread wakes another that waits on sockets."""

from __future__ import annotations

import select
import socket


class Bell:
    """Rung from any thread, at any time; waited for by one."""

    def __init__(self) -> None:
        self._listener, self._ringer = socket.socketpair()
        self._listener.setblocking(False)
        self._ringer.setblocking(False)

    def fileno(self) -> int:
        """Return what a poll waits on."""
        return self._listener.fileno()

    def ring(self) -> None:
        """Wake the waiting thread; many rings before it wakes are one."""
        try:
            self._ringer.send(b"\0")
        except BlockingIOError:
            return  # full: it has been rung often enough
        except OSError:
            return  # closed: nobody waits any more

    def wait(self, timeout_s: float) -> bool:
        """Wait for a ring, at most so many seconds; returns whether it rang."""
        waiter = select.poll()  # unlike select, it takes any file descriptor
        waiter.register(self, select.POLLIN)
        rung = bool(waiter.poll(max(timeout_s, 0.0) * 1000.0))
        self.silence()
        return rung

    def silence(self) -> None:
        """Forget the rings so far."""
        try:
            while self._listener.recv(4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Let go of the sockets."""
        self._listener.close()
        self._ringer.close()
