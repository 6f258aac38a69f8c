"""The publisher: from the outbox to the broker, at least once, most urgent first.

The outbox is the only memory. A row leaves it when the broker has acknowledged it with
success, and not before; whatever was under way when a connection ended is simply still
there. The receiver drops the repeats that follow from this, by device and sequence.

Threads: the publisher owns one. It alone touches the connection and calls the outbox and
`on_state`. `start`, `wake` and `stop` may be called from any thread. There is no lock:
`wake` rings a bell, `stop` sets a flag and rings it.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol

from edge.alerts.bell import Bell
from edge.alerts.broker import BrokerError, BrokerSettings, TlsSettings
from edge.alerts.connection import Connection, Session, Will
from edge.alerts.sealing import CONTENT_TYPE
from edge.alerts.timestamps import rfc3339
from edge.alerts.topics import alert_topic, state_topic
from edge.store.outbox import OutboxEntry, OutboxError

__all__ = [
    "BrokerSettings",
    "Outbox",
    "OutboxEntry",
    "OutboxError",
    "Publisher",
    "PublisherState",
    "TlsSettings",
]

MAX_IN_FLIGHT = 20
DRILL_EXPIRY_S = 3600  # an exercise that comes an hour late would only confuse
_PUBLISH_OVERHEAD = 512  # bytes of header, topic and properties, rounded up
_BACKOFF_S = (0.25, 60.0)  # first, longest
_GOODBYE = 0  # in place of a sequence, which count from 1
_STEADY_S = 10.0  # a connection that held so long was a good one

log = logging.getLogger("scanside.alerts")


class Outbox(Protocol):
    """The durable queue. Every method is called from the publisher's thread alone.

    A method that cannot do its work now raises `OutboxError`; anything else would end
    the thread.
    """

    def pending(self, limit: int, exclude: Collection[int]) -> Sequence[OutboxEntry]:
        """Return at most `limit` rows not yet published, most urgent first, then oldest.

        `exclude` holds the sequences under way or set aside; never more than 40.
        """

    def mark_published(self, sequence: int) -> None:
        """Note, durably, that the broker has acknowledged the row."""

    def backlog(self) -> int:
        """Return how many rows are not yet published."""


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


@dataclass(frozen=True)
class _Sent:
    """A row under way."""

    sequence: int
    attempts: int


@dataclass(frozen=True)
class _SetAside:
    """A row that the broker refused, until when (monotonic seconds) and how often."""

    until: float
    attempts: int


def backoff_s(attempts: int, *, jitter: float) -> float:
    """Return how long to wait after so many failures in a row, in seconds.

    Doubles from 0.25 s to 60 s; `jitter`, 0 to 1, takes up to half of it away, so that
    a hundred appliances do not come back in the same instant.
    """
    first, longest = _BACKOFF_S
    full = min(longest, first * 2.0 ** min(attempts - 1, 16))
    return full * (1.0 - jitter / 2.0)


class Publisher:
    """Sends the outbox to the broker, for as long as it runs.

    Parameters
    ----------
    settings : BrokerSettings
    outbox : Outbox
    device, site : str
        As they stand in the topics.
    on_state : callable
        Called with a `PublisherState` at every change, from the publisher's thread. It
        must not block and must not raise.
    version : str
        Of the software, for the birth message.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        outbox: Outbox,
        *,
        device: str,
        site: str,
        on_state: Callable[[PublisherState], None],
        version: str = "",
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._device = device
        self._site = site
        self._on_state = on_state
        self._version = version
        self._state_topic = state_topic(site, device)
        self._bell = Bell()
        self._stopping = threading.Event()
        self._stop_timeout_s = 0.0
        # A daemon thread: what is not acknowledged is in the outbox, so that nothing is
        # lost when the process ends without `stop`.
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        # From here on, the publisher's thread alone.
        self._in_flight: dict[int, _Sent] = {}  # by packet identifier
        self._set_aside: dict[int, _SetAside] = {}  # by sequence
        self._published = 0
        self._reason = "not connected yet"
        self._told: PublisherState | None = None

    def start(self) -> None:
        """Start the thread. It connects by itself, and again whenever it must."""
        self._thread.start()

    def wake(self) -> None:
        """Say that the outbox has new rows. Returns at once; a row is on the socket in a ms."""
        self._bell.ring()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Wait for what is under way, say offline, disconnect and join the thread.

        Parameters
        ----------
        timeout_s : float
            Seconds for the acknowledgements still open. What has none by then stays in
            the outbox. A connect in progress ends within its own timeout.
        """
        self._stop_timeout_s = timeout_s
        self._stopping.set()
        self._bell.ring()
        if self._thread.ident is not None:
            self._thread.join()
        self._bell.close()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            reason = self._one_connection()
            if reason is None:
                return
            # A broker that lets us in and throws us out at once has not become well.
            failures = 1 if time.monotonic() - began > _STEADY_S else failures + 1
            self._lost(reason, failures)
            self._pause(backoff_s(failures, jitter=random.random()))  # noqa: S311 - no secret

    def _one_connection(self) -> str | None:
        """Connect and serve; returns why it ended, or None when told to stop."""
        try:
            self._serve(self._connect())
        except BrokerError as error:
            return str(error)
        except OutboxError as error:
            return f"outbox: {error}"
        return None

    def _connect(self) -> Connection:
        since = _now()
        gone = _state("offline", since, self._version, clean=False)
        connection = Connection(self._settings, Session(), will=Will(self._state_topic, gone))
        backlog = self._outbox.backlog()
        connection.open(self._bell, self._stopping.is_set)
        birth = _state("online", since, self._version, backlog=backlog)
        connection.publish(self._state_topic, birth, retain=True, content_type="application/json")
        self._reason = ""
        log.info("connected to the broker, %d alerts wait", backlog)
        self._tell(connected=True)
        return connection

    def _serve(self, connection: Connection) -> None:
        """Send and listen until told to stop; raises BrokerError when the connection ends."""
        try:
            while not self._stopping.is_set():
                self._send(connection)
                self._tell(connected=True)
                connection.turn(self._next_retry_s(), self._bell)
                self._settle(connection)
            self._say_goodbye(connection)
        finally:
            connection.drop()
            self._in_flight.clear()  # not acknowledged: pending again

    def _send(self, connection: Connection) -> None:
        now = time.monotonic()
        waiting = {seq for seq, aside in self._set_aside.items() if aside.until > now}
        room = min(MAX_IN_FLIGHT, connection.receive_maximum) - len(self._in_flight)
        # A broker that refuses everything is not asked about ever more rows.
        if room <= 0 or len(waiting) >= MAX_IN_FLIGHT:
            return
        exclude = waiting | {sent.sequence for sent in self._in_flight.values()}
        for entry in self._outbox.pending(room, exclude):
            before = self._set_aside.pop(entry.sequence, None)
            attempts = before.attempts if before is not None else 0
            largest = connection.maximum_packet
            if largest is not None and len(entry.sealed) + _PUBLISH_OVERHEAD > largest:
                # Sending it would cost the connection (MQTT 5.0 section 3.1.2.11.4).
                self._refuse(_Sent(entry.sequence, attempts), "larger than the broker takes")
                continue
            mid = connection.publish(
                alert_topic(self._site, self._device, entry.urgency),
                entry.sealed,
                content_type=CONTENT_TYPE,
                expiry_s=DRILL_EXPIRY_S if entry.urgency == "drill" else None,
            )
            self._in_flight[mid] = _Sent(entry.sequence, attempts)

    def _settle(self, connection: Connection) -> None:
        while connection.acknowledged:
            answer = connection.acknowledged.popleft()
            sent = self._in_flight.pop(answer.mid, None)
            if sent is None or sent.sequence == _GOODBYE:
                continue  # the birth message, or the farewell
            if answer.failure is None:
                self._outbox.mark_published(sent.sequence)
                self._published += 1
                if not self._set_aside:
                    self._reason = ""
            else:
                self._refuse(sent, answer.failure)

    def _refuse(self, sent: _Sent, reason: str) -> None:
        attempts = sent.attempts + 1
        pause = backoff_s(attempts + 2, jitter=random.random())  # noqa: S311 - no secret
        self._set_aside[sent.sequence] = _SetAside(time.monotonic() + pause, attempts)
        self._reason = f"the broker refused an alert: {reason}"
        log.warning("alert %d stays in the outbox: %s", sent.sequence, reason)

    def _next_retry_s(self) -> float:
        """Return how long to sleep at most: until the earliest row set aside is due."""
        now = time.monotonic()
        due = [aside.until - now for aside in self._set_aside.values() if aside.until > now]
        return min(due, default=1.0)

    def _say_goodbye(self, connection: Connection) -> None:
        deadline = time.monotonic() + self._stop_timeout_s
        bye = _state("offline", _now(), self._version, clean=True)
        mid = connection.publish(
            self._state_topic, bye, retain=True, content_type="application/json"
        )
        self._in_flight[mid] = _Sent(_GOODBYE, 0)
        while self._in_flight and time.monotonic() < deadline:
            connection.turn(deadline - time.monotonic(), self._bell)
            self._settle(connection)
        connection.close(self._bell, max(0.0, deadline - time.monotonic()))
        self._reason = "stopped"
        self._tell(connected=False)

    def _pause(self, seconds: float) -> None:
        """Wait before the next try; new rows do not make a broker come back sooner."""
        deadline = time.monotonic() + seconds
        while not self._stopping.is_set() and time.monotonic() < deadline:
            self._bell.wait(deadline - time.monotonic())

    def _lost(self, reason: str, failures: int) -> None:
        self._reason = reason
        # An hour without a broker is one line, not one each minute.
        if failures == 1:
            log.warning("not publishing: %s; alerts wait in the outbox", reason)
        self._tell(connected=False)

    def _tell(self, *, connected: bool) -> None:
        in_flight = len(self._in_flight) if connected else 0
        state = PublisherState(
            connected, self._reason, in_flight, len(self._set_aside), self._published
        )
        if state != self._told:
            self._told = state
            self._on_state(state)


def _state(state: str, since: str, version: str, **more: object) -> bytes:
    return json.dumps({"state": state, "since": since, "version": version, **more}).encode()


def _now() -> str:
    return rfc3339(datetime.now(timezone.utc))
