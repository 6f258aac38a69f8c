"""The subscriber: from the broker to the store, and only then an acknowledgement and a receipt.

The broker keeps a session for us and holds what we miss. A message is acknowledged after
its record is in the database, several at a time where several came together; a crash between the
two brings it again, and the store knows it. A message that is refused is acknowledged,
too, for it would be refused for ever; it is counted by reason, and stands in the audit.

A database that does not take alerts now is treated as a broker that is away: what came is not
acknowledged, the connection is closed, and both are tried again with a growing pause.

Threads: `run` works in the thread that calls it, and that thread alone uses the
connection and the store and calls the callbacks. `stop` and `wait_until_subscribed` may
be called from any thread. `start` is `run` in a thread of its own.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edge.alerts.bell import Bell
from edge.alerts.broker import BrokerError, BrokerSettings
from edge.alerts.connection import Connection, Message, Session
from edge.alerts.message import Alert
from edge.alerts.publisher import backoff_s
from edge.alerts.topics import (
    InvalidTopicError,
    parse_alert_topic,
)
from edge.audit import Act, Audit
from edge.jose.envelope import CONTENT_TYPE, Refusal, SealError
from edge.keys import CentralKeys
from tools.central.feedback import FeedbackTray
from tools.central.followers import DeviceSuccessors
from tools.central.opening import Candidate, open_alert
from tools.central.own_keys import OwnKeys
from tools.central.receipts import ReceiptDesk
from tools.central.records import Kept, Record, Standing
from tools.central.rules import Rules
from tools.central.states import StateBoard
from tools.central.store import AlertStore, DeviceState, StoreError
from tools.central.trust import TrustWatch

MAX_BATCH = 64
SESSION_EXPIRY_S = 7 * 24 * 3600
SHARED_EXPIRY_S = 60  # what a process that is gone holds is sent again by its device
MAX_RECEIPTS = 64  # under way to the broker
WHO = "central"  # in the audit

log = logging.getLogger("scanside.central")


@dataclass(frozen=True)
class Received:
    """An authentic alert, kept.

    Parameters
    ----------
    alert : Alert or None
        None when the signed body is outside this version's schema; `problem` says so, and
        the record holds it.
    record : Record
        As it is kept.
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


@dataclass
class Counts:
    """What has been counted since the start. Read from any thread; written by one."""

    accepted: int = 0
    receipts: int = 0
    repeats: int = 0
    refused: Counter[Refusal] = field(default_factory=Counter)


class Subscriber:
    """Receives alerts for as long as it runs.

    Parameters
    ----------
    settings : BrokerSettings
        The client id must stay the same: the broker keeps our session under it.
    keys : CentralKeys
    trust : TrustWatch
    store : AlertStore
        `run` closes it.
    on_alert : callable
        Called with a `Received` once it is kept.
    on_state : callable or None
        Called with a `DeviceState` at each change.
    on_turn : callable or None
        Called at least once a second while `run` lives: for a watchdog.
    rules : Rules or None
        None: every site's alerts, all of them.
    audit : Audit or None
        Where refusals are written.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        keys: CentralKeys,
        trust: TrustWatch,
        store: AlertStore,
        *,
        on_alert: Callable[[Received], None],
        on_state: Callable[[DeviceState], None] | None = None,
        on_turn: Callable[[], None] | None = None,
        rules: Rules | None = None,
        audit: Audit | None = None,
    ) -> None:
        self.counts = Counts()
        self._settings = settings
        self._own = OwnKeys(trust.folder, keys)
        self._trust = trust
        self._store = store
        self._on_alert = on_alert
        self._on_state = on_state
        self._on_turn = on_turn
        self._rules = rules or Rules()
        self._audit = audit
        self._successors = DeviceSuccessors(trust, store)
        self._feedback = FeedbackTray(store.database, self._own, trust, self._rules.max_age)
        self._desk = ReceiptDesk(store.database, store.owner, self._own)
        expiry_s = SESSION_EXPIRY_S if self._rules.share is None else SHARED_EXPIRY_S
        self._session = Session(expiry_s, receive_maximum=MAX_BATCH)
        self._board = StateBoard(store)
        self._answers: dict[int, tuple[int, ...]] = {}  # rows of receipts, by packet identifier
        self._more_receipts = True
        self.deaf_since: float | None = time.time()  # None: we receive; else seconds, since when
        self._bell = Bell()
        self._stopping = threading.Event()
        self._subscribed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Run in a thread of its own, until `stop`."""
        self._thread = threading.Thread(target=self.run, name="central", daemon=True)
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
        """Receive until `stop`. A subscriber runs once."""
        try:
            self._run()
        finally:
            self.close()

    def close(self) -> None:
        """Let go of what it holds; for a subscriber that never ran. `run` does it by itself."""
        self._bell.close()
        self._store.close()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            reason = self._one_connection()
            if reason is None:
                return
            failures = 1 if time.monotonic() - began > 10.0 else failures + 1
            if failures == 1:
                log.warning("not receiving: %s; the broker holds what we miss", reason)
            self._pause(backoff_s(failures, jitter=random.random()))  # noqa: S311 - no secret

    def _one_connection(self) -> str | None:
        """Connect and receive; returns why it ended, or None when told to stop."""
        try:
            connection = Connection(self._settings, self._session, manual_ack=True)
            connection.open(self._bell, self._stopping.is_set)
        except BrokerError as error:
            return str(error)
        try:
            self._serve(connection)
        except (BrokerError, StoreError) as error:
            return str(error)
        finally:
            self._subscribed.clear()
            self.deaf_since = self.deaf_since or time.time()
            connection.drop()
        return None

    def _serve(self, connection: Connection) -> None:
        connection.subscribe(*self._rules.filters)
        log.info("connected, session %s", "kept" if connection.session_present else "new")
        self._announce(connection)
        self._answers.clear()
        self._desk.start_over()
        self._more_receipts = True
        while not self._stopping.is_set():
            connection.turn(1.0, self._bell)
            self._check_subscribed(connection)
            if connection.received:
                self._receive(connection)
            self._settle(connection)
            self._answer(connection)
            if self._own.refresh():
                self._announce(connection)
            self._tick()
        self._finish(connection)

    def _announce(self, connection: Connection) -> None:
        """Tell the devices which keys followed which; who is away finds it when he comes."""
        if self._own.announcement is not None:
            connection.publish(*self._own.announcement, retain=True)

    def _finish(self, connection: Connection) -> None:
        """Send the receipts that are due, wait a little for what is under way, and say goodbye."""
        deadline = time.monotonic() + 2.0
        while (self._answers or self._more_receipts) and time.monotonic() < deadline:
            self._answer(connection)
            connection.turn(deadline - time.monotonic(), self._bell)
            self._settle(connection)
        connection.close(self._bell, 2.0)

    def _check_subscribed(self, connection: Connection) -> None:
        while connection.subscribed:
            answer = connection.subscribed.popleft()
            if answer.failure is not None:
                msg = f"the broker refused the subscription: {answer.failure}"
                raise BrokerError(msg)
            log.info("subscribed")
            self.deaf_since = None
            self._subscribed.set()

    def _receive(self, connection: Connection) -> None:
        """Take what has come, and what comes at once after it, with one write to the disk."""
        before = 0
        while before < len(connection.received) < MAX_BATCH:
            before = len(connection.received)
            connection.turn(0.0, self._bell)
        batch = list(connection.received)
        connection.received.clear()
        opened = [one for one in map(self._open, batch) if one is not None]
        taken = self._keep(opened)
        # Before the acknowledgement, for a connection that ends there raises; afterwards
        # the alerts would come again and be taken for repeats.
        for received in taken:
            self._on_alert(received)
        for message in batch:
            connection.acknowledge(message)

    def _open(self, message: Message) -> Candidate | None:
        """Open one message; None when it is no alert, or one that is refused."""
        try:
            topic = parse_alert_topic(message.topic)
        except InvalidTopicError:
            if not (self._take_keys(message) or self._take_feedback(message)):
                self._take_state(message)
            return None
        try:
            return open_alert(message, topic, self._own.current, self._trust, self._rules.max_age)
        except SealError as error:
            self._count_refusal(error)
            return None

    def _take_keys(self, message: Message) -> bool:
        """Follow a device to its new keys; return whether the message was meant to tell of any."""
        try:
            return self._successors.take(message)
        except SealError as error:
            self._count_refusal(error)
            return True

    def _take_feedback(self, message: Message) -> bool:
        """Keep a physician's word; return whether the message was meant to be one."""
        try:
            return self._feedback.take(message)
        except SealError as error:
            self._count_refusal(error)
            return True

    def _keep(self, opened: Sequence[Candidate]) -> list[Received]:
        """Keep alerts and write their receipts, in one transaction; return the new ones."""
        if not opened:
            return []
        kept = self._store.keep([one.record for one in opened])
        self._more_receipts = True
        taken = [
            _received(one, what)
            for one, what in zip(opened, kept, strict=True)
            if what.standing is not Standing.REPEAT
        ]
        self.counts.accepted += len(taken)
        self.counts.repeats += len(opened) - len(taken)
        return taken

    def _answer(self, connection: Connection) -> None:
        """Send receipts that wait, as many as the broker takes at once."""
        room = min(MAX_RECEIPTS, connection.receive_maximum) - len(self._answers)
        if not self._more_receipts or room <= 0:
            return
        parcels = self._desk.parcels(room, self._trust.current)
        self._more_receipts = bool(parcels)
        for parcel in parcels:
            if not parcel.topic:
                self._desk.sent(parcel.rows)
                continue
            mid = connection.publish(parcel.topic, parcel.payload, content_type=CONTENT_TYPE)
            self._answers[mid] = parcel.rows

    def _settle(self, connection: Connection) -> None:
        """Forget the receipts that the broker has taken."""
        taken: list[int] = []
        while connection.acknowledged:
            answer = connection.acknowledged.popleft()
            rows = self._answers.pop(answer.mid, ())
            if answer.failure is None:
                taken += rows
            else:
                log.warning("the broker refused a receipt: %s", answer.failure)
        self._desk.sent(taken)
        self.counts.receipts += len(taken)

    def _count_refusal(self, error: SealError) -> None:
        self.counts.refused[error.reason] += 1
        count = self.counts.refused[error.reason]
        if str(count).strip("0") == "1":  # 1, 10, 100: a flood does not fill the log
            log.warning("refused %d so far: %s", count, error)
            if self._audit is not None:
                self._audit.note(
                    Act(WHO, "alert.refused", outcome=f"{error.reason.value}, {count} so far")
                )

    def _take_state(self, message: Message) -> None:
        state = self._board.take(message)
        if state is not None and self._on_state is not None:
            self._on_state(state)

    def _tick(self) -> None:
        """Do what is due now and then."""
        if self._on_turn is not None:
            self._on_turn()
        if self._trust.refresh():
            log.info(
                "the trusted devices have changed: %d keys", len(self._trust.current.devices.by_kid)
            )
        if self._stopping.is_set() or not self._subscribed.is_set():
            return
        if self._desk.adopt():
            self._more_receipts = True

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stopping.is_set() and time.monotonic() < deadline:
            self._bell.wait(min(1.0, deadline - time.monotonic()))
            self._tick()


def _received(one: Candidate, kept: Kept) -> Received:
    message = one.message
    return Received(
        one.alert, one.record, kept.standing, kept.missing, message.at, message.at_monotonic
    )
