"""The storm: a broker, a device and a central server that are killed and cut off at random.

All of it is real: mosquitto with mutual TLS and rules for each device, made by `scanside-central
init`; the appliance's own journal, outbox and publisher as a process; `scanside-central run` as a
process. A proxy stands between them and the broker. An enrolled device that has turned bad and a
revoked one send whatever they can.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from edge.alerts.bell import Bell
from edge.alerts.broker import BrokerError, BrokerSettings
from edge.alerts.connection import Connection, Session
from edge.alerts.topics import alert_topic
from edge.jose.envelope import MAX_MESSAGE
from edge.keys import (
    CENTRAL_PUBLIC,
    DeviceKeys,
    KeyRing,
    TrustedCentrals,
    add_recipient,
    init_device,
)
from tools.bench.delivery_device import JOURNAL, Place, an_alert, sealed
from tools.bench.delivery_peers import SITE, WAYS, PeerReceiver
from tools.bench.delivery_proxy import Fault, FaultyProxy
from tools.broker import HOST, LocalBroker, free_port
from tools.central.authority import make_request
from tools.central.site_folder import NewSite, SiteFolder, enrol, make_site, revoke
from tools.site import SiteError

DEVICE = "ct-1"
_CONVERGE_S = 300.0
_QUIET_S = 8.0  # longer than a peer's own pause before it connects again


@dataclass(frozen=True)
class Plan:
    """How much of what.

    Parameters
    ----------
    alerts : int
    per_second : float
        How fast the device makes them.
    broker, device, central : int
        How often each is stopped or killed.
    faults : int
        How often the network fails.
    seed : int
    """

    alerts: int
    per_second: float
    broker: int
    device: int
    central: int
    faults: int
    seed: int = 7


@dataclass
class Harvest:
    """What was there in the end.

    Parameters
    ----------
    made : int
        Alerts in the device's journal.
    lost, duplicated : int
        Of them, those that central has not, and rows that it has more than once.
    gaps : int
        Numbers that central says are missing.
    forged_accepted : int
        Rows that the device did not write.
    unsettled : int
        Alerts that the device still has no receipt for.
    refused : dict
        What central's audit says of refusals: reasons.
    peers : dict
        For each peer: how many were lost, and how many came twice.
    took_s : float
    """

    made: int
    lost: int
    duplicated: int
    gaps: int
    forged_accepted: int
    unsettled: int
    took_s: float
    refused: set[str] = field(default_factory=set)
    peers: dict[str, tuple[int, int]] = field(default_factory=dict)


class Storm:
    """One run, in a folder of its own."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._folder = folder
        self._plan = plan
        self._rng = random.Random(plan.seed)  # noqa: S311 - no secret
        port = free_port()
        self.site = make_site(folder / "site", NewSite(SITE, "central", HOST, port))
        self.broker = LocalBroker(folder, port=port, file=self.site.broker / "mosquitto.conf")
        self.proxy = FaultyProxy(port, plan.seed)
        self._places = {
            name: join(self.site, folder / name, name) for name in (DEVICE, "bad", "gone", *WAYS)
        }
        self._crafted = crafted(folder, self._places)
        revoke(self.site, "gone")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def run(self) -> Harvest:
        """Let it rage until everything was done and everything has settled.

        Raises
        ------
        SiteError
            When it does not settle within five minutes after the last fault.
        """
        began = time.monotonic()
        self.broker.start()
        self.proxy.start()
        self._point_at_proxy()
        peers = PeerReceiver(_of_central(self.site, self._folder), self.broker.port)
        try:
            self._start_central()
            for name in (DEVICE, *WAYS):
                self._start_device(name)
            self._rage()
            self._settle()
            self._let_peers_finish(peers)
        finally:
            for name in list(self._processes):
                self._end(name, signal.SIGTERM)
            peers.stop()
            self.proxy.stop()
            self.broker.stop()
        return self._harvest(peers, time.monotonic() - began)

    def _rage(self) -> None:
        plan = self._plan
        actions: list[Callable[[], None]] = [self._restart_broker] * plan.broker
        actions += [self._kill_devices] * plan.device
        actions += [self._kill_central] * plan.central
        actions += [self._fail_network] * plan.faults
        actions += [self._attack] * max(2, plan.faults // 5)
        self._rng.shuffle(actions)
        pause_s = plan.alerts / plan.per_second / len(actions)
        for action in actions:
            time.sleep(self._rng.uniform(0.0, 2.0 * pause_s))
            action()
        self._attack()

    def _restart_broker(self) -> None:
        if self._rng.random() < 0.5:
            self.broker.kill()
        else:
            self.broker.stop()
        time.sleep(self._rng.uniform(0.0, 1.0))
        self.broker.start()

    def _kill_devices(self) -> None:
        for name in (DEVICE, *WAYS):
            self._end(name, signal.SIGKILL)
            self._start_device(name)

    def _kill_central(self) -> None:
        self._end("central", signal.SIGKILL)
        self._start_central()

    def _fail_network(self) -> None:
        self.proxy.inflict(self._rng.choice(list(Fault)))

    def _attack(self) -> None:
        """Send all that was crafted, and a real alert again, as whoever may connect at all."""
        for name in ("bad", "gone"):
            settings = self._places[name].settings(self.broker.port, name)
            topic = alert_topic(SITE, name, "critical")
            try:
                with connected(settings) as (line, bell):
                    sent = [line.publish(topic, one) for one in (*self._crafted, *self._copied())]
                    deadline = time.monotonic() + 5.0
                    while len(line.acknowledged) < len(sent) and time.monotonic() < deadline:
                        line.turn(0.5, bell)
            except BrokerError:
                continue  # it was thrown out, or the broker is away

    def _copied(self) -> list[bytes]:
        """Return alerts of the device as somebody could have copied them from the wire."""
        file = self._places[DEVICE].folder / JOURNAL
        try:
            with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as read:
                rows = read.execute("SELECT sealed FROM outbox ORDER BY RANDOM() LIMIT 3")
                return [sealed for (sealed,) in rows]
        except sqlite3.OperationalError:
            return []  # there is no journal yet

    def _start_device(self, name: str) -> None:
        module, extra = ("delivery_device", []) if name == DEVICE else ("delivery_peers", [name])
        plan = self._plan
        arguments = [str(self._places[name].folder), str(self.proxy.port)]
        arguments += [str(plan.alerts), str(plan.per_second)]
        self._start(name, [f"tools.bench.{module}", *extra, *arguments])

    def _start_central(self) -> None:
        self._start("central", ["tools.central.cli", "run", str(self.site.path)])

    def _start(self, name: str, arguments: list[str]) -> None:
        log = (self._folder / f"{name}.log").open("ab")
        with log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )

    def _end(self, name: str, number: signal.Signals) -> None:
        process = self._processes.pop(name)
        process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _point_at_proxy(self) -> None:
        file = self.site.path / "central.toml"
        text = file.read_text("utf-8")
        file.write_text(
            text.replace(f"port = {self.broker.port}", f"port = {self.proxy.port}"), "utf-8"
        )

    def _settle(self) -> None:
        """Wait until the device has made all and has a receipt for each."""
        deadline = time.monotonic() + self._plan.alerts / self._plan.per_second + _CONVERGE_S
        while time.monotonic() < deadline:
            made, unsettled = self._device_counts()
            if made >= self._plan.alerts and unsettled == 0:
                return
            time.sleep(0.2)
        tail = (self._folder / "central.log").read_text("utf-8", "replace")[-500:]
        msg = f"{unsettled} of {made} alerts have no receipt in the end. Central said: {tail}"
        raise SiteError(msg)

    def _let_peers_finish(self, peers: PeerReceiver) -> None:
        """Give the peers what we had: time without faults, until nothing of theirs comes."""
        deadline = time.monotonic() + _CONVERGE_S
        before, quiet_since = -1, time.monotonic()
        while time.monotonic() < deadline and time.monotonic() - quiet_since < _QUIET_S:
            now = sum(map(len, peers.got.values()))
            if now != before or not all(self._peer_is_done(way) for way in WAYS):
                before, quiet_since = now, time.monotonic()
            time.sleep(0.2)

    def _peer_is_done(self, way: str) -> bool:
        counter = self._places[way].folder / "counter"
        return counter.exists() and counter.read_text() == str(self._plan.alerts)

    def _device_counts(self) -> tuple[int, int]:
        file = self._places[DEVICE].folder / JOURNAL
        if not file.exists():
            return 0, 0
        try:
            with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as read:
                ((made, settled),) = read.execute("SELECT COUNT(*), COUNT(settled) FROM outbox")
        except sqlite3.OperationalError:
            return 0, 0  # it is being made in this moment
        return int(made), int(made - settled)

    def _harvest(self, peers: PeerReceiver, took_s: float) -> Harvest:
        with closing(sqlite3.connect(self._places[DEVICE].folder / JOURNAL)) as read:
            written = dict(read.execute("SELECT sequence, digest FROM outbox").fetchall())
            ((settled,),) = read.execute("SELECT COUNT(settled) FROM outbox").fetchall()
        with closing(sqlite3.connect(self.site.settings.store.database)) as read:
            rows = read.execute("SELECT device, sequence, digest FROM alerts").fetchall()
            missing = "SELECT SUM(highest - lowest + 1 - held) FROM counts WHERE device = ?"
            ((gaps,),) = read.execute(missing, (DEVICE,)).fetchall()
        ours = [
            sequence
            for device, sequence, digest in rows
            if device == DEVICE and written.get(sequence) == digest
        ]
        with closing(sqlite3.connect(self.site.settings.store.audit)) as read:
            said = read.execute("SELECT outcome FROM audit WHERE what = 'alert.refused'").fetchall()
        total = self._plan.alerts
        return Harvest(
            made=len(written),
            lost=len(written) - len(set(ours)),
            duplicated=len(ours) - len(set(ours)),
            gaps=int(gaps or 0),
            forged_accepted=len(rows) - len(ours),
            unsettled=len(written) - int(settled),
            took_s=took_s,
            refused={outcome.rpartition(",")[0] for (outcome,) in said},
            peers={
                way: (total - len(set(got)), len(got) - len(set(got)))
                for way, got in peers.got.items()
            },
        )


def join(site: SiteFolder, folder: Path, name: str) -> Place:
    """Make a device with keys and certificate, and enrol it."""
    place = Place(folder)
    init_device(place.keys, device=name, site=SITE)
    request, key = make_request(name)
    file = folder / "device.csr.pem"
    file.write_bytes(request.public_bytes(Encoding.PEM))
    enrol(site, place.keys / "device.public.json", file)
    handed = site.handed_to(name)
    add_recipient(place.keys, handed / CENTRAL_PUBLIC)
    (folder / "tls").mkdir()
    for part in ("ca.pem", "device.pem"):
        (folder / "tls" / part).write_text((handed / part).read_text())
    (folder / "tls" / "device.key").write_text(key)
    return place


@contextmanager
def connected(settings: BrokerSettings) -> Iterator[tuple[Connection, Bell]]:
    """Connect to the broker; raises `BrokerError`."""
    bell = Bell()
    connection = Connection(settings, Session())
    try:
        connection.open(bell, lambda: False)
        yield connection, bell
    finally:
        connection.drop()
        bell.close()


def crafted(folder: Path, places: Mapping[str, Place]) -> list[bytes]:
    """Return what an attacker sends, each kind once.

    He has enrolled a device, ``bad``; he has the keys of one that was revoked, ``gone``; and he
    can make keys that nobody has enrolled.
    """
    victim, bad, gone = (KeyRing(places[name].keys).current for name in (DEVICE, "bad", "gone"))
    init_device(folder / "stranger", device=DEVICE, site=SITE)
    stranger = replace(victim, own=DeviceKeys.load(folder / "stranger"))
    in_its_name = replace(victim, own=replace(victim.own, signing=bad.own.signing))
    real = sealed(bad, an_alert(bad.own, 1, "critical")).sealed
    others = replace(bad, centrals=TrustedCentrals({}))
    return [
        sealed(stranger, an_alert(victim.own, 1, "critical")).sealed,
        sealed(in_its_name, an_alert(victim.own, 1, "critical")).sealed,
        sealed(gone, an_alert(gone.own, 1, "critical")).sealed,
        sealed(others, an_alert(bad.own, 1, "critical")).sealed,  # for another audience
        real.replace(b'"tag":"', b'"tag":"A', 1)[: len(real)],
        b"{}",
        os.urandom(512),
        b"x" * (MAX_MESSAGE + 1),
    ]


def _of_central(site: SiteFolder, folder: Path) -> Place:
    """Return central's own certificate as a place of a client."""
    place = Place(folder / "receiver")
    (place.folder / "tls").mkdir(parents=True)
    tls = site.path / "tls"
    for source, target in (("ca", "ca.pem"), ("central", "device.pem")):
        (place.folder / "tls" / target).write_text((tls / f"{source}.pem").read_text())
    (place.folder / "tls" / "device.key").write_text((tls / "central.key").read_text())
    return place
