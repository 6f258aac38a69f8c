"""The subscriber: from the broker to the store, and only then an acknowledgement.

The broker keeps a session for us and holds what we miss. A message is acknowledged after
its record is on disk, several at a time where several came together; a crash between the
two brings it again, and the store knows it. A message that is refused is acknowledged,
too, for it would be refused for ever; it is counted by reason.

Threads: `run` works in the thread that calls it, and that thread alone uses the
connection and the store and calls the callbacks. `stop` and `wait_until_subscribed` may
be called from any thread. `start` is `run` in a thread of its own.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

from edge.alerts.bell import Bell
from edge.alerts.broker import BrokerError, BrokerSettings
from edge.alerts.connection import Connection, Message, Session
from edge.alerts.message import Alert, MessageError
from edge.alerts.publisher import backoff_s
from edge.alerts.sealing import Opened, Refusal, SealError, open_sealed
from edge.alerts.timestamps import rfc3339
from edge.alerts.topics import (
    AlertTopic,
    InvalidTopicError,
    alert_filter,
    parse_alert_topic,
    parse_state_topic,
    state_filter,
)
from edge.keys import CentralKeys, TrustedDevices
from tools.central.seen import Standing
from tools.central.store import AlertStore, Record, StoreError

MAX_BATCH = 64
MAX_STATE = 4096  # bytes; ours has 120
SESSION_EXPIRY_S = 7 * 24 * 3600

log = logging.getLogger("scanside.central")


@dataclass(frozen=True)
class Received:
    """An authentic alert, on disk.

    Parameters
    ----------
    alert : Alert or None
        None when the signed body is outside this version's schema; `problem` says so, and
        the record holds it.
    record : Record
        As it stands in the file.
    standing : Standing
        NEW, or RESTARTED when the device counts from the beginning again.
    missing : int
        Alerts of this device between its first and its last that have not come (yet).
    at, at_monotonic : float
        When the message came from the socket: `time.time` and `time.monotonic`, seconds.
    """

    alert: Alert | None
    record: Record
    standing: Standing
    missing: int
    at: float
    at_monotonic: float


@dataclass(frozen=True)
class DeviceState:
    """What a device, or the broker in its name, says of itself. It is not signed."""

    site: str
    device: str
    online: bool
    since: str
    backlog: int | None


@dataclass
class Counts:
    """What has been counted since the start. Read from any thread; written by one."""

    accepted: int = 0
    repeats: int = 0
    refused: Counter[Refusal] = field(default_factory=Counter)


class Subscriber:
    """Receives alerts for as long as it runs.

    Parameters
    ----------
    settings : BrokerSettings
        The client id must stay the same: the broker keeps our session under it.
    keys : CentralKeys
    trust : callable
        Returns the `TrustedDevices`. Asked at the start, and again (at most once a
        second) when an unknown device writes, so that trusting one needs no restart.
    store : AlertStore
    on_alert : callable
        Called with a `Received` once it is on disk.
    on_state : callable or None
        Called with a `DeviceState` at each change.
    on_turn : callable or None
        Called at least once a second while `run` lives: for a watchdog.
    site : str or None
        None: every site.
    max_age : timedelta or None
        See `edge.alerts.sealing.open_sealed`.
    session_expiry_s : int
        How long the broker holds what we miss, in seconds.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        keys: CentralKeys,
        trust: Callable[[], TrustedDevices],
        store: AlertStore,
        *,
        on_alert: Callable[[Received], None],
        on_state: Callable[[DeviceState], None] | None = None,
        on_turn: Callable[[], None] | None = None,
        site: str | None = None,
        max_age: timedelta | None = None,
        session_expiry_s: int = SESSION_EXPIRY_S,
    ) -> None:
        self.counts = Counts()
        self.failure: StoreError | None = None  # why `start`'s thread ended by itself
        self._settings = settings
        self._keys = keys
        self._trust = trust
        self._trusted = trust()
        self._trusted_at = time.monotonic()
        self._store = store
        self._on_alert = on_alert
        self._on_state = on_state
        self._on_turn = on_turn
        self._filters = (alert_filter(site), state_filter(site))
        self._max_age = max_age
        self._session = Session(session_expiry_s, receive_maximum=MAX_BATCH)
        self._states: dict[tuple[str, str], DeviceState] = {}
        self._bell = Bell()
        self._stopping = threading.Event()
        self._subscribed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Run in a thread of its own, until `stop`."""
        self._thread = threading.Thread(target=self._run_in_thread, name="central", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End `run` soon; joins the thread if `start` made one."""
        self._stopping.set()
        self._bell.ring()
        if self._thread is not None:
            self._thread.join()

    def wait_until_subscribed(self, timeout_s: float) -> bool:
        """Wait until the broker has taken our subscription; returns whether it has."""
        return self._subscribed.wait(timeout_s)

    def run(self) -> None:
        """Receive until `stop`. A subscriber runs once.

        Raises
        ------
        StoreError
            When a record cannot be written. Nothing unwritten has been acknowledged; the
            broker sends it again after a restart.
        """
        try:
            self._run()
        finally:
            self._bell.close()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            reason = self._one_connection()
            if reason is None:
                return
            failures = 1 if time.monotonic() - began > 10.0 else failures + 1
            if failures == 1:
                log.warning("no broker: %s; it holds what we miss", reason)
            self._pause(backoff_s(failures, jitter=random.random()))  # noqa: S311 - no secret

    def _run_in_thread(self) -> None:
        try:
            self.run()
        except StoreError as error:
            self.failure = error
            log.error("%s", error)

    def _one_connection(self) -> str | None:
        """Connect and receive; returns why it ended, or None when told to stop."""
        try:
            connection = Connection(self._settings, self._session, manual_ack=True)
            connection.open(self._bell, self._stopping.is_set)
        except BrokerError as error:
            return str(error)
        try:
            self._serve(connection)
        except BrokerError as error:
            return str(error)
        finally:
            self._subscribed.clear()
            connection.drop()
        return None

    def _serve(self, connection: Connection) -> None:
        connection.subscribe(*self._filters)
        log.info("connected, session %s", "kept" if connection.session_present else "new")
        while not self._stopping.is_set():
            connection.turn(1.0, self._bell)
            self._check_subscribed(connection)
            if connection.received:
                self._receive(connection)
            self._tick()
        connection.close(self._bell, 2.0)

    def _check_subscribed(self, connection: Connection) -> None:
        while connection.subscribed:
            answer = connection.subscribed.popleft()
            if answer.failure is not None:
                msg = f"the broker refused the subscription: {answer.failure}"
                raise BrokerError(msg)
            self._subscribed.set()

    def _receive(self, connection: Connection) -> None:
        """Take what has come, and what comes at once after it, with one write to the disk."""
        before = 0
        while before < len(connection.received) < MAX_BATCH:
            before = len(connection.received)
            connection.turn(0.0, self._bell)
        batch = list(connection.received)
        connection.received.clear()
        taken = [one for one in map(self._take, batch) if one is not None]
        self._store.commit()
        self.counts.accepted += len(taken)
        # Before the acknowledgement, for a connection that ends there raises; afterwards
        # the alerts would come again and be taken for repeats.
        for received in taken:
            self._on_alert(received)
        for message in batch:
            connection.acknowledge(message)

    def _take(self, message: Message) -> Received | None:
        """Open one message and hand it to the store; None when it is no new alert."""
        try:
            topic = parse_alert_topic(message.topic)
        except InvalidTopicError:
            self._take_state(message)
            return None
        try:
            opened = self._open(message.payload)
        except SealError as error:
            self._count_refusal(error)
            return None
        return self._keep(message, topic, opened)

    def _open(self, sealed: bytes) -> Opened:
        try:
            return self._open_once(sealed)
        except SealError as error:
            now = time.monotonic()
            if error.reason is not Refusal.UNKNOWN_DEVICE or now - self._trusted_at < 1.0:
                raise
            self._trusted, self._trusted_at = self._trust(), now
        return self._open_once(sealed)

    def _open_once(self, sealed: bytes) -> Opened:
        return open_sealed(
            sealed,
            me=self._keys.opening,
            trusted=self._trusted,
            now=datetime.now(timezone.utc),
            max_age=self._max_age,
        )

    def _keep(self, message: Message, topic: AlertTopic, opened: Opened) -> Received | None:
        alert, problem = None, ""
        try:
            alert = Alert.from_json(opened.body)
        except MessageError as error:
            # It is signed: better kept as it is than lost for want of an update here.
            problem = f"outside the schema of this version: {error}"
        named = AlertTopic(opened.site, opened.device, alert.urgency if alert else topic.urgency)
        if not problem and topic != named:
            problem = "came on another topic than its own"
        record = Record(
            received=rfc3339(datetime.fromtimestamp(message.at, timezone.utc)),
            device=opened.device,
            site=opened.site,
            sequence=opened.sequence,
            kid=opened.kid,
            created=opened.created,
            alert=json.loads(opened.body),
            problem=problem,
        )
        standing = self._store.add(record)
        if standing is Standing.REPEAT:
            self.counts.repeats += 1
            return None
        missing = self._store.seen.missing(opened.kid)
        return Received(alert, record, standing, missing, message.at, message.at_monotonic)

    def _count_refusal(self, error: SealError) -> None:
        self.counts.refused[error.reason] += 1
        count = self.counts.refused[error.reason]
        if str(count).strip("0") == "1":  # 1, 10, 100: a flood does not fill the log
            log.warning("refused %d so far: %s", count, error)

    def _take_state(self, message: Message) -> None:
        try:
            site, device = parse_state_topic(message.topic)
            if len(message.payload) > MAX_STATE:
                return
            said = json.loads(message.payload)
        except (InvalidTopicError, ValueError, RecursionError):
            return  # anyone who may publish there can write anything
        if not isinstance(said, dict) or said.get("state") not in {"online", "offline"}:
            return
        since, backlog = said.get("since"), said.get("backlog")
        state = DeviceState(
            site,
            device,
            online=said["state"] == "online",
            since=since if isinstance(since, str) and len(since) <= 24 else "",
            backlog=backlog if isinstance(backlog, int) else None,
        )
        known = self._states.get((site, device))
        if known is not None and replace(known, backlog=state.backlog) == state:
            return
        self._states[site, device] = state
        if self._on_state is not None:
            self._on_state(state)

    def _tick(self) -> None:
        if self._on_turn is not None:
            self._on_turn()

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stopping.is_set() and time.monotonic() < deadline:
            self._bell.wait(min(1.0, deadline - time.monotonic()))
            self._tick()
