"""Tell systemd how we are (sd_notify).

The protocol is one datagram on the socket named by NOTIFY_SOCKET; without it, nothing is
sent. Source: sd_notify(3).
"""

from __future__ import annotations

import os
import socket

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"


def notify(state: str) -> bool:
    """Send `state` to the service manager.

    Parameters
    ----------
    state : str
        One or more assignments, a line each: ``READY=1``, ``WATCHDOG=1``, ``STATUS=...``.

    Returns
    -------
    bool
        Whether there is a service manager and it took the message.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.connect(address)
            manager.sendall(state.encode())
    except OSError:
        # A manager that went away must not stop the service.
        return False
    return True


def watchdog_interval_s() -> float | None:
    """Return half the watchdog period that systemd asked for, in seconds, or None."""
    period_us = os.environ.get("WATCHDOG_USEC", "")
    return int(period_us) / 2e6 if period_us.isdigit() and int(period_us) > 0 else None
