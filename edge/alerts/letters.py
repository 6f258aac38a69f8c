"""Letters: messages to central that are no alerts, sent when no alert waits.

A physician's feedback is one. It is durable before it is sent and is sent until the broker has
acknowledged it; it is never in the way of an alert, so it takes what room the alerts leave.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Protocol

from edge.alerts.connection import Connection
from edge.jose.envelope import CONTENT_TYPE
from edge.store.outbox import as_outbox_error

log = logging.getLogger("scanside.publisher")


class Letters(Protocol):
    """Where letters wait."""

    def pending(self, limit: int, exclude: Collection[int]) -> Sequence[tuple[int, bytes]]:
        """Return at most `limit` (number, sealed) that the broker has not acknowledged."""

    def mark_published(self, number: int) -> None:
        """Note, durably, that the broker has acknowledged a letter."""


class Post:
    """Sends letters over the publisher's connection, in the publisher's thread.

    Parameters
    ----------
    letters : Letters
    topic : str
        Where they go.
    """

    def __init__(self, letters: Letters, topic: str) -> None:
        self._letters = letters
        self._topic = topic
        self._in_flight: dict[int, int] = {}  # number by packet identifier
        self._refused: set[int] = set()  # until the next connection

    def __len__(self) -> int:
        return len(self._in_flight)

    def send(self, connection: Connection, room: int) -> None:
        """Publish what waits, at most `room`; raises `OutboxError`, `BrokerError`."""
        if room <= 0:
            return
        with as_outbox_error():
            waiting = self._letters.pending(room, {*self._in_flight.values(), *self._refused})
        for number, sealed in waiting:
            mid = connection.publish(self._topic, sealed, content_type=CONTENT_TYPE)
            self._in_flight[mid] = number

    def acknowledged(self, mid: int, failure: str | None) -> bool:
        """Return whether the broker's answer was to a letter; note it then."""
        number = self._in_flight.pop(mid, None)
        if number is None:
            return False
        if failure is None:
            with as_outbox_error():
                self._letters.mark_published(number)
        else:
            self._refused.add(number)
            log.warning("a letter stays in the journal: the broker refused it: %s", failure)
        return True

    def lost(self) -> None:
        """The connection ended: what was not acknowledged, and what was refused, waits again."""
        self._in_flight.clear()
        self._refused.clear()
