"""Arguments that several commands of ``scanside-central`` take."""

from __future__ import annotations

import argparse
from datetime import timedelta


def broker_address(text: str) -> tuple[str, int]:
    """Read HOST or HOST:PORT; an IPv6 address stands in brackets. Port 0: the usual one."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, "0"
    if not (host and port.isdigit() and int(port) <= 65535):
        msg = f"{text!r} is not HOST or HOST:PORT, with a port from 1 to 65535"
        raise argparse.ArgumentTypeError(msg)
    return host.removeprefix("[").removesuffix("]"), int(port)


def days(text: str) -> timedelta:
    """Read a number of days greater than 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 36500:
        msg = f"{text!r} is not a number of days greater than 0"
        raise argparse.ArgumentTypeError(msg)
    return timedelta(days=number)
