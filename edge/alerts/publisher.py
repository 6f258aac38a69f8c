"""The publisher: from the outbox to the broker, at least once, most urgent first.

The outbox is the only memory. The broker's acknowledgement is noted there, and so is each
receipt; whatever was under way when a connection ended is simply still there. The receiver
drops the repeats that follow from this, by device and sequence.

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
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from prometheus_client import CollectorRegistry

from edge.alerts.bell import Bell
from edge.alerts.broker import BrokerError, BrokerSettings, TlsSettings
from edge.alerts.connection import Connection, Session, Will
from edge.alerts.delivery import Incoming, Outbox, PublisherState, backoff_s
from edge.alerts.letters import Post
from edge.alerts.topics import alert_topic, escalated_topic, keys_topic, state_topic
from edge.jose.envelope import CONTENT_TYPE
from edge.metrics import Metrics
from edge.store.outbox import OutboxEntry, OutboxError
from edge.timestamps import rfc3339

__all__ = [
    "BrokerSettings",
    "Outbox",
    "OutboxEntry",
    "OutboxError",
    "Publisher",
    "PublisherState",
    "TlsSettings",
    "backoff_s",
]

MAX_IN_FLIGHT = 64
DRILL_EXPIRY_S = 3600  # an exercise that comes an hour late would only confuse
SESSION_EXPIRY_S = 7 * 24 * 3600  # so long the broker holds the receipts that we miss
_PUBLISH_OVERHEAD = 512  # bytes of header, topic and properties, rounded up
_OWN = 0  # in place of a sequence, which count from 1: a message of our own
_STEADY_S = 10.0  # a connection that held so long was a good one

log = logging.getLogger("scanside.alerts")


@dataclass(frozen=True)
class _Sent:
    """A row under way; `second`: on the topic of what was not settled in time."""

    sequence: int
    attempts: int
    created: float = 0.0
    second: bool = False


@dataclass(frozen=True)
class _SetAside:
    """A row that the broker refused, until when (monotonic seconds) and how often."""

    until: float
    attempts: int


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
    incoming : Incoming or None
        Takes the receipts; None: none are expected.
    metrics : Metrics or None
        None: nobody looks at them.
    post : Post or None
        Sends what is no alert; None: there is nothing of the kind.
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
        incoming: Incoming | None = None,
        metrics: Metrics | None = None,
        post: Post | None = None,
    ) -> None:
        self._settings = settings
        self._post = post
        self._outbox = outbox
        self._device = device
        self._site = site
        self._on_state = on_state
        self._version = version
        self._incoming = incoming
        self._metrics = metrics or Metrics(CollectorRegistry())
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
        self._announced: bytes | None = None

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
        # Without receipts the broker need keep nothing of us.
        kept = Session(SESSION_EXPIRY_S, MAX_IN_FLIGHT) if self._incoming else Session()
        connection = Connection(
            self._settings, kept, will=Will(self._state_topic, gone), manual_ack=True
        )
        backlog = self._outbox.backlog()
        connection.open(self._bell, self._stopping.is_set)
        self._in_flight.clear()
        self._say(
            connection, self._state_topic, _state("online", since, self._version, backlog=backlog)
        )
        if self._incoming is not None:
            connection.subscribe(*self._incoming.topics)
        self._announced = None
        self._reason = ""
        log.info("connected to the broker, %d alerts wait", backlog)
        self._tell(connected=True)
        return connection

    def _serve(self, connection: Connection) -> None:
        """Send and listen until told to stop; raises BrokerError when the connection ends."""
        try:
            while not self._stopping.is_set():
                self._send(connection)
                self._send_letters(connection)
                self._tell(connected=True)
                connection.turn(self._next_retry_s(), self._bell)
                self._settle(connection)
                self._receive(connection)
                self._look_after()
                self._announce(connection)
            self._say_goodbye(connection)
        finally:
            connection.drop()
            self._in_flight.clear()  # not acknowledged: pending again
            if self._post is not None:
                self._post.lost()

    def _send(self, connection: Connection) -> None:
        now = time.monotonic()
        waiting = {seq for seq, aside in self._set_aside.items() if aside.until > now}
        under_way = len(self._in_flight) + (0 if self._post is None else len(self._post))
        room = min(MAX_IN_FLIGHT, connection.receive_maximum) - under_way
        # A broker that refuses everything is not asked about ever more rows.
        if room <= 0 or len(waiting) >= MAX_IN_FLIGHT:
            return
        exclude = waiting | {sent.sequence for sent in self._in_flight.values()}
        entries = self._outbox.pending(room, exclude)
        if entries and self._incoming is not None:
            # A server learns a new key before the first alert that is signed with it.
            self._incoming.refresh()
            self._announce(connection)
        for entry in entries:
            if room <= 0:
                return
            before = self._set_aside.pop(entry.sequence, None)
            attempts = before.attempts if before is not None else 0
            largest = connection.maximum_packet
            if largest is not None and len(entry.sealed) + _PUBLISH_OVERHEAD > largest:
                # Sending it would cost the connection (MQTT 5.0 section 3.1.2.11.4).
                self._refuse(_Sent(entry.sequence, attempts), "larger than the broker takes")
                continue
            room -= self._publish(connection, entry, attempts, room)

    def _send_letters(self, connection: Connection) -> None:
        if self._post is not None:
            under_way = len(self._in_flight) + len(self._post)
            self._post.send(connection, min(MAX_IN_FLIGHT, connection.receive_maximum) - under_way)

    def _publish(self, connection: Connection, entry: OutboxEntry, attempts: int, room: int) -> int:
        """Send an alert, on its second topic too when it is escalated; return how many messages.

        A broker that takes one message at a time gets an escalated alert on the second topic.
        """
        expiry_s = DRILL_EXPIRY_S if entry.urgency == "drill" else None
        topics = [alert_topic(self._site, self._device, entry.urgency)]
        if entry.escalated:
            topics.append(escalated_topic(self._site, self._device, entry.urgency))
        topics = topics[-room:]
        for at, topic in enumerate(topics):
            mid = connection.publish(
                topic,
                entry.sealed,
                content_type=CONTENT_TYPE,
                expiry_s=expiry_s,
                user=[("attempt", str(entry.sent + 1))],
            )
            self._in_flight[mid] = _Sent(entry.sequence, attempts, entry.created, second=at > 0)
        way = "escalated" if entry.escalated else "again" if entry.sent else "first"
        self._metrics.alerts_sent.labels(way).inc()
        return len(topics)

    def _settle(self, connection: Connection) -> None:
        """Note what the broker has acknowledged since the last turn, all with one commit."""
        taken: list[_Sent] = []
        while connection.acknowledged:
            answer = connection.acknowledged.popleft()
            if self._post is not None and self._post.acknowledged(answer.mid, answer.failure):
                continue
            sent = self._in_flight.pop(answer.mid, None)
            if sent is None or sent.sequence == _OWN:
                continue
            if sent.second:
                self._note_second(answer.failure)
            elif answer.failure is None:
                taken.append(sent)
            else:
                self._refuse(sent, answer.failure)
        if not taken:
            return
        self._outbox.mark_published([sent.sequence for sent in taken])
        self._published += len(taken)
        now = time.time()
        for sent in taken:
            self._metrics.published_s.observe(max(0.0, now - sent.created))
        if not self._set_aside:
            self._reason = ""

    def _note_second(self, failure: str | None) -> None:
        """A broker that refuses the second topic has the alert on the first."""
        if failure is not None:
            self._reason = f"the broker refused the topic of escalated alerts: {failure}"

    def _receive(self, connection: Connection) -> None:
        """Take the receipts that came, and only then let the broker forget them."""
        while connection.subscribed:
            answer = connection.subscribed.popleft()
            if answer.failure is not None:
                # Alerts still go out; without receipts they are sent again, and escalate.
                self._reason = f"the broker refused a subscription: {answer.failure}"
                log.warning("%s", self._reason)
        if self._incoming is None or not connection.received:
            return
        messages = list(connection.received)
        connection.received.clear()
        self._incoming.take([(message.topic, message.payload) for message in messages])
        for message in messages:
            connection.acknowledge(message)

    def _announce(self, connection: Connection) -> None:
        """Tell, retained, of new keys of this device: once a connection, and when they change."""
        message = None if self._incoming is None else self._incoming.announcement()
        if message is not None and message != self._announced:
            self._say(connection, keys_topic(self._site, self._device), message)
        self._announced = message

    def _say(self, connection: Connection, topic: str, message: bytes) -> None:
        """Publish something of our own, retained; it counts for what the broker takes at once."""
        mid = connection.publish(topic, message, retain=True, content_type="application/json")
        self._in_flight[mid] = _Sent(_OWN, 0)

    def _look_after(self) -> None:
        if self._incoming is None:
            return
        try:
            self._incoming.look_after()
        except OutboxError as error:
            self._reason = f"outbox: {error}"

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
        self._say(connection, self._state_topic, bye)
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
            self._bell.wait(min(1.0, deadline - time.monotonic()))
            self._look_after()

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
