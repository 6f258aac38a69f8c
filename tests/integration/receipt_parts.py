"""A device with its whole delivery, and a server that answers it, for the tests of receipts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

from arrivals import arrival
from delivery_parts import PATIENCE_S, Device, Watched
from prometheus_client import CollectorRegistry

from edge.alerts.bell import Bell
from edge.alerts.broker import BrokerSettings
from edge.alerts.connection import Connection, Message, Session
from edge.alerts.message import Alert
from edge.alerts.publisher import Publisher
from edge.alerts.receipt import Receipt, Standing, StoredAlert, make_receipt
from edge.alerts.reception import ReceiptRules, Reception
from edge.alerts.sealing import SealError, body_digest, open_sealed, seal
from edge.alerts.topics import (
    alert_filter,
    central_keys_topic,
    escalated_filter,
    keys_filter,
    receipt_topic,
)
from edge.audit import Audit, read_entries
from edge.keys import (
    CENTRAL_PUBLIC,
    DEVICE_PUBLIC,
    CentralKeys,
    KeyRing,
    add_recipient,
    init_central,
    init_device,
    load_trusted,
    trust_device,
)
from edge.metrics import Metrics
from edge.store.journal import StudyState
from edge.store.lookup import AlertLine, list_alerts
from edge.store.outbox import NewAlert, Outbox, Outcome
from edge.store.settling import Answer, ReceivedReceipt, Settlements
from edge.store.studies import Store

SITE, DEVICE = "north", "ct-1"


class Seen(Settlements):
    """Settlements whose changes a test can wait for."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.journal)
        self.watched = Watched()

    def settle(self, receipts: Sequence[ReceivedReceipt]) -> list[Answer]:
        answers = super().settle(receipts)
        self._tell()
        return answers

    def escalate(self, older_than_s: float) -> list[int]:
        escalated = super().escalate(older_than_s)
        self._tell()  # about once a second, so that every change is seen at last
        return escalated

    def _tell(self) -> None:
        with self.watched.changed:
            self.watched.changed.notify_all()


class Appliance:
    """Keys, journal, outbox, reception and publisher, as the daemon puts them together."""

    def __init__(self, folder: Path, broker: BrokerSettings, rules: ReceiptRules) -> None:
        self.keys = folder / "device"
        init_device(self.keys, device=DEVICE, site=SITE)
        self.ring = KeyRing(self.keys)
        self.rules = rules
        self.metrics = Metrics(CollectorRegistry())
        own = self.ring.current.own
        self.store = Store(folder / "store", device_key=own.storage, reserve_bytes=0)
        self.store.keep(arrival(), b"image")
        self.outbox = Outbox(self.store.journal)
        self.seen = Seen(self.store)
        self.audit = Audit(self.store.journal, lambda: self.ring.current.own.signing)
        self._broker = broker
        self._closing = ExitStack()
        self._closing.callback(self.store.close)
        self.publisher: Publisher | None = None

    def start(self) -> None:
        reception = Reception(
            self.ring, self.rules, self.seen, audit=self.audit, metrics=self.metrics
        )
        self.publisher = Publisher(
            self._broker,
            self.outbox,
            device=DEVICE,
            site=SITE,
            on_state=lambda _: None,
            incoming=reception,
            metrics=self.metrics,
        )
        self.publisher.start()

    def stop(self) -> None:
        if self.publisher is not None:
            self.publisher.stop()
            self.publisher = None

    def close(self) -> None:
        self.stop()
        self._closing.close()

    def tell(self, urgency: str = "urgent") -> int:
        """Put an alert of the one study into the outbox; return its number."""
        keys = self.ring.current
        numbers: list[int] = []

        def make(sequence: int) -> NewAlert:
            alert = Device(self.keys, keys.own).alert(sequence, urgency)
            body = alert.to_json()
            sealed = seal(
                body,
                signer=keys.own.signing,
                device=DEVICE,
                sequence=sequence,
                created=alert.created,
                recipients=keys.readers,
            )
            numbers.append(sequence)
            owed_by = self.rules.owed_by(keys.readers_names)
            return NewAlert(alert.id, urgency, sealed, body_digest(body), owed_by)

        result = Outcome(1, self.store.study(1).key, StudyState.DECIDED, 1, "final", {})
        self.outbox.record(result, make)
        if self.publisher is not None:
            self.publisher.wake()
        return numbers[0]

    def line(self, number: int) -> AlertLine:
        lines = list_alerts(self.store.journal, 1000)
        return next(one for one in lines if one.sequence == number)

    def wait_for(self, condition: Callable[[], bool]) -> bool:
        return self.seen.watched.wait_for(condition, PATIENCE_S * 2)

    def wait_until_settled(self, number: int) -> bool:
        return self.wait_for(lambda: self.line(number).delivery == "settled")

    def comes_to(self, metric: str, value: float, **labels: str) -> bool:
        """Wait for a metric: it is counted a moment after what it counts is durable."""
        registry = self.metrics.registry
        return self.wait_for(lambda: registry.get_sample_value(metric, labels) == value)

    def audited(self, what: str) -> list[str]:
        """The outcomes of one kind of act, newest first."""
        entries = read_entries(self.store.journal, 1000)
        return [one.act.outcome for one in entries if one.act.what == what]

    def refusals(self, what: str, reason: str) -> float:
        labels = {"what": what, "reason": reason}
        value = self.metrics.registry.get_sample_value("scanside_refusals_total", labels)
        return value or 0.0


class Server(Watched):
    """A central server in a thread: opens what it can, and answers with receipts if it shall."""

    def __init__(self, folder: Path, name: str, broker: BrokerSettings) -> None:
        super().__init__()
        self.folder = folder / name
        init_central(self.folder, name)
        self.name = name
        self.answers = True
        self.alerts: list[tuple[Alert, bool]] = []  # and whether it came escalated
        self.payloads: dict[str, list[bytes]] = {}
        self.unreadable: list[str] = []
        self._settings = broker
        self._bell = Bell()
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._outgoing: list[tuple[str, bytes, bool]] = []
        self._thread = threading.Thread(target=self._run, name=name)

    @property
    def keys(self) -> CentralKeys:
        return CentralKeys.load(self.folder)

    def join(self, appliance: Appliance) -> None:
        add_recipient(appliance.keys, self.folder / CENTRAL_PUBLIC)
        trust_device(self.folder, appliance.keys / DEVICE_PUBLIC)
        appliance.ring.refresh()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)

    def stop(self) -> None:
        self._stopping.set()
        self._bell.ring()
        if self._thread.ident is not None:
            self._thread.join()
        self._bell.close()

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish something, from the server's thread."""
        self._outgoing.append((topic, payload, retain))
        self._bell.ring()

    def send_keys(self, message: bytes) -> None:
        self.send(central_keys_topic(self.name), message, retain=True)

    def receipt_for(self, alert: Alert, **changes: object) -> bytes:
        said = {
            "sequence": alert.sequence,
            "alert_id": alert.id,
            "digest": body_digest(alert.to_json()),
            "stored": alert.created,
            "status": Standing.STORED,
        } | changes
        receipt = Receipt(self.name, SITE, DEVICE, (StoredAlert(**said),))  # type: ignore[arg-type]
        trusted = list(load_trusted(self.folder).by_kid.values())
        return make_receipt(receipt, signer=self.keys.signing, device_key=trusted[-1].sealing)

    def wait_for_alert(self, number: int, *, escalated: bool = False) -> bool:
        def came() -> bool:
            return any(one.sequence == number and way >= escalated for one, way in self.alerts)

        return self.wait_for(came, PATIENCE_S * 2)

    def _run(self) -> None:
        connection = Connection(self._settings, Session())
        connection.open(self._bell, self._stopping.is_set)
        connection.subscribe(alert_filter(), escalated_filter(), keys_filter())
        while not self._stopping.is_set():
            connection.turn(1.0, self._bell)
            if connection.subscribed:
                connection.subscribed.clear()
                self._ready.set()
            while connection.received:
                self._take(connection.received.popleft())
            while self._outgoing:
                topic, payload, retain = self._outgoing.pop(0)
                connection.publish(topic, payload, retain=retain)
        connection.close(self._bell, 2.0)

    def _take(self, message: Message) -> None:
        with self.changed:
            self.payloads.setdefault(message.topic, []).append(message.payload)
            if not message.topic.endswith("/keys"):
                self._open(message)
            self.changed.notify_all()

    def _open(self, message: Message) -> None:
        try:
            opened = open_sealed(
                message.payload,
                me=self.keys.opening,
                trusted=load_trusted(self.folder),
                now=datetime.now(timezone.utc),
                max_age=None,
            )
        except SealError as error:
            self.unreadable.append(error.reason.value)
            return
        alert = Alert.from_json(opened.body)
        self.alerts.append((alert, "/escalated/" in message.topic))
        if self.answers:
            self._outgoing.append((receipt_topic(SITE, DEVICE), self.receipt_for(alert), False))
