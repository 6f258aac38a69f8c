"""What the publisher works with, what it says of itself, and how long it waits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge.store.outbox import OutboxEntry

_BACKOFF_S = (0.25, 60.0)  # first, longest


class Outbox(Protocol):
    """The durable queue. Every method is called from the publisher's thread alone.

    A method that cannot do its work now raises `OutboxError`; anything else would end
    the thread.
    """

    def pending(self, limit: int, exclude: Collection[int]) -> Sequence[OutboxEntry]:
        """Return at most `limit` rows to send now, most urgent first, then oldest.

        `exclude` holds the sequences under way or set aside; never more than 128.
        """

    def mark_published(self, sequences: Collection[int]) -> None:
        """Note, durably and in one commit, that the broker has acknowledged the rows."""

    def backlog(self) -> int:
        """Return how many rows are not yet published."""


class Incoming(Protocol):
    """What central servers send; `edge.alerts.reception`. From the publisher's thread alone."""

    @property
    def topics(self) -> tuple[str, ...]:
        """What to subscribe to."""

    def take(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Take what came, as topics and payloads, durably, before the broker may forget it."""

    def announcement(self) -> bytes | None:
        """Return what tells of this device's new keys; None when it never had others."""

    def refresh(self) -> None:
        """See whether there are new keys; called before alerts are sent."""

    def look_after(self) -> None:
        """Do what is due; called about once a second, connected or not."""


@dataclass(frozen=True)
class PublisherState:
    """How the publisher is, for the console, `check` and metrics.

    Parameters
    ----------
    connected : bool
    reason : str
        Why it is not connected, or what the broker last refused; empty when all is well.
    in_flight : int
        Sent, not yet acknowledged.
    set_aside : int
        Refused by the broker, to be tried again later.
    published : int
        Acknowledged since the start.
    """

    connected: bool
    reason: str
    in_flight: int
    set_aside: int
    published: int


def backoff_s(attempts: int, *, jitter: float) -> float:
    """Return how long to wait after so many failures in a row, in seconds.

    Doubles from 0.25 s to 60 s; `jitter`, 0 to 1, takes up to half of it away, so that
    a hundred appliances do not come back in the same instant.
    """
    first, longest = _BACKOFF_S
    full = min(longest, first * 2.0 ** min(attempts - 1, 16))
    return full * (1.0 - jitter / 2.0)
