"""What the delivery tests share: a device, its outbox, and a central server."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge.alerts.message import (
    Alert,
)
from edge.alerts.publisher import BrokerSettings, OutboxEntry, Publisher, PublisherState
from edge.alerts.sealing import seal
from edge.alerts.topics import URGENCIES
from edge.keys import (
    CENTRAL_PUBLIC,
    DEVICE_PUBLIC,
    CentralKeys,
    DeviceKeys,
    add_recipient,
    init_central,
    init_device,
    load_recipients,
    trust_device,
)
from tools.bench.delivery_device import an_alert
from tools.broker import LocalBroker
from tools.central.database import open_database
from tools.central.store import AlertStore, DeviceState
from tools.central.subscriber import Received, Subscriber
from tools.central.trust import TrustWatch

PATIENCE_S = 20.0


class Watched:
    """Something that changes in one thread and is waited for in another."""

    def __init__(self) -> None:
        # Guards what the subclass holds; notified at each change.
        self.changed = threading.Condition()

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> bool:
        with self.changed:
            return self.changed.wait_for(condition, timeout_s)


class MemoryOutbox(Watched):
    """An outbox that keeps its rows in memory. `forgetful`: as if killed before it marked."""

    def __init__(self, *, forgetful: bool = False) -> None:
        super().__init__()
        self.rows: dict[int, OutboxEntry] = {}
        self.published: list[int] = []
        self.forgetful = forgetful

    def add(self, *entries: OutboxEntry) -> None:
        with self.changed:
            self.rows |= {entry.sequence: entry for entry in entries}

    def pending(self, limit: int, exclude: Collection[int]) -> Sequence[OutboxEntry]:
        with self.changed:
            rows = [row for row in self.rows.values() if row.sequence not in exclude]
        return sorted(rows, key=lambda row: (URGENCIES.index(row.urgency), row.sequence))[:limit]

    def mark_published(self, sequences: Collection[int]) -> None:
        with self.changed:
            self.published += sequences
            if not self.forgetful:
                for sequence in sequences:
                    del self.rows[sequence]
            self.changed.notify_all()

    def backlog(self) -> int:
        with self.changed:
            return len(self.rows)


class FolderOutbox:
    """An outbox for a process that will be killed: a file a row, gone when published."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, *entries: OutboxEntry) -> None:
        for entry in entries:
            (self.folder / f"{entry.sequence}.{entry.urgency}").write_bytes(entry.sealed)

    def pending(self, limit: int, exclude: Collection[int]) -> Sequence[OutboxEntry]:
        names = [file.name.split(".") for file in self.folder.iterdir()]
        rows = sorted((int(sequence), urgency) for sequence, urgency in names)
        return [
            OutboxEntry(sequence, urgency, (self.folder / f"{sequence}.{urgency}").read_bytes())
            for sequence, urgency in rows
            if sequence not in exclude
        ][:limit]

    def mark_published(self, sequences: Collection[int]) -> None:
        for sequence in sequences:
            for file in self.folder.glob(f"{sequence}.*"):
                file.unlink()
            print(sequence, flush=True)  # noqa: T201 - the test waits for it

    def backlog(self) -> int:
        return len(list(self.folder.iterdir()))


@dataclass
class Device:
    """A device with keys; writes sealed alerts."""

    folder: Path
    keys: DeviceKeys

    def entry(self, sequence: int, urgency: str = "urgent") -> OutboxEntry:
        alert = self.alert(sequence, urgency)
        sealed = seal(
            alert.to_json(),
            signer=self.keys.signing,
            device=alert.device,
            sequence=sequence,
            created=alert.created,
            recipients=[*load_recipients(self.folder), self.keys.console],
        )
        return OutboxEntry(sequence, urgency, sealed)

    def alert(self, sequence: int, urgency: str) -> Alert:
        return an_alert(self.keys, sequence, urgency)


class States(Watched):
    """What a publisher has said of itself."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[PublisherState] = []

    def __call__(self, state: PublisherState) -> None:
        with self.changed:
            self.said.append(state)
            self.changed.notify_all()

    @property
    def last(self) -> PublisherState:
        return self.said[-1] if self.said else PublisherState(False, "", 0, 0, 0)


def publisher(
    broker: LocalBroker, outbox: MemoryOutbox, device: Device, states: States | None = None
) -> Publisher:
    return Publisher(
        BrokerSettings(broker.host, broker.port, f"device-{device.keys.device}"),
        outbox,
        device=device.keys.device,
        site=device.keys.site,
        on_state=states or States(),
        version="test",
    )


@dataclass
class Central(Watched):
    """A central server in a thread."""

    folder: Path
    keys: CentralKeys
    alerts: list[Received] = field(default_factory=list)
    states: list[DeviceState] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.store: AlertStore | None = None
        self.subscriber: Subscriber | None = None

    def start(self, broker: LocalBroker, settings: BrokerSettings | None = None) -> None:
        self.store = AlertStore(open_database(str(self.folder / "alerts.db")))
        self.subscriber = Subscriber(
            settings or BrokerSettings(broker.host, broker.port, "central-test"),
            self.keys,
            TrustWatch(self.folder),
            self.store,
            on_alert=self._take_alert,
            on_state=self._take_state,
        )
        self.subscriber.start()

    def stop(self) -> None:
        if self.subscriber is not None and self.store is not None:
            self.subscriber.stop()
            self.store = None

    def sequences(self) -> list[int]:
        return [one.record.sequence for one in self.alerts]

    def wait_for_alerts(self, count: int) -> bool:
        return self.wait_for(lambda: len(self.alerts) >= count)

    def _take_alert(self, received: Received) -> None:
        with self.changed:
            self.alerts.append(received)
            self.changed.notify_all()

    def _take_state(self, state: DeviceState) -> None:
        with self.changed:
            self.states.append(state)
            self.changed.notify_all()


def make_device(folder: Path, central: Central, *, name: str = "ct-1") -> Device:
    """Make a device and have it and the server trust each other."""
    keys = init_device(folder, device=name, site="north")
    add_recipient(folder, central.folder / CENTRAL_PUBLIC)
    trust_device(central.folder, folder / DEVICE_PUBLIC)
    return Device(folder, keys)


def make_central(folder: Path) -> Central:
    return Central(folder, init_central(folder, "central"))


def publish_folder(host: str, port: str, folder: str) -> None:
    """Publish a folder until killed: what the tests run as a process of its own."""
    outbox = FolderOutbox(Path(folder))
    settings = BrokerSettings(host, int(port), "device-ct-1")
    one = Publisher(settings, outbox, device="ct-1", site="north", on_state=lambda _: None)
    one.start()
    sys.stdin.read()
    one.stop()


if __name__ == "__main__":
    publish_folder(*sys.argv[1:])
