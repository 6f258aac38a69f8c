"""A fleet: many devices that each send an alert a second into two central processes.

The alerts are sealed beforehand, each by its own device's keys, and sent over a few connections
in clear: what is measured is from the PUBLISH to the end of the transaction that stored it, with
broker, database, both processes and the sender on this one machine.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from edge.alerts.bell import Bell
from edge.alerts.broker import BrokerError, BrokerSettings
from edge.alerts.connection import Connection, Session
from edge.alerts.topics import alert_topic
from edge.keys import CENTRAL_PUBLIC, KeyRing, KeySet, add_recipient, init_device, trust_device
from tools.bench.delivery_central import READY
from tools.bench.delivery_device import an_alert, sealed
from tools.bench.delivery_peers import SITE
from tools.bench.report import percentile
from tools.broker import HOST, LocalBroker
from tools.site import SiteError

_LATEST_S = 60.0


@dataclass(frozen=True)
class Measured:
    """One run: how many devices, latencies in ms, and how many alerts did not come in a minute."""

    devices: int
    seconds: int
    latencies_ms: Sequence[float]
    missing: int

    def percentile_ms(self, share: float) -> float:
        """Return the latency below which so large a share lies; infinite when nothing came."""
        return percentile(self.latencies_ms, share) if self.latencies_ms else math.inf


class Fleet:
    """Devices and the keys of the servers, made once for several runs.

    Parameters
    ----------
    folder : Path
    central : Path
        The servers' keys; they believe each device.
    devices : int
    """

    def __init__(self, folder: Path, central: Path, devices: int) -> None:
        self._central = central
        self._folder = folder
        self._keys: list[KeySet] = []
        for number in track(range(devices), f"Keys of {devices} devices"):
            place = folder / f"device-{number}"
            init_device(place, device=f"d-{number}", site=SITE)
            add_recipient(place, central / CENTRAL_PUBLIC)
            trust_device(central, place / "device.public.json")
            self._keys.append(KeyRing(place).current)
        self._sequence = 0

    def run(self, database: str, devices: int, seconds: int) -> Measured:
        """Send an alert a second from each of so many devices; raises `SiteError`."""
        alerts = list(self._sealed(devices, seconds))
        folder = self._folder / f"run-{self._sequence}"
        folder.mkdir()
        with ExitStack() as undo:
            broker = LocalBroker(folder)
            broker.start()
            undo.callback(broker.stop)
            logs = [folder / f"central-{number}.log" for number in range(2)]
            for log in logs:
                undo.enter_context(central_process(self._central, broker.port, database, log))
            try:
                sent = _send(broker.port, alerts, devices)
            except BrokerError:
                return Measured(devices, seconds, (), len(alerts))
            stored = _stored(logs, len(sent))
        latencies = [
            (stored[name] - moment) * 1e3 for name, moment in sent.items() if name in stored
        ]
        return Measured(devices, seconds, latencies, len(sent) - len(latencies))

    def _sealed(self, devices: int, seconds: int) -> Iterator[tuple[str, int, bytes]]:
        for _ in track(range(seconds), f"Alerts of {devices} devices"):
            self._sequence += 1
            for keys in self._keys[:devices]:
                alert = an_alert(keys.own, self._sequence, "urgent")
                yield keys.own.device, self._sequence, sealed(keys, alert).sealed


@contextmanager
def central_process(keys: Path, port: int, database: str, log: Path) -> Iterator[None]:
    """Run one central process; it is ready when this yields."""
    arguments = [str(keys), str(port), database, log.stem, str(log)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.bench.delivery_central", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        if process.stdout is None or READY not in process.stdout.readline():
            msg = "a central process did not start"
            raise SiteError(msg)
        yield
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


def _send(
    port: int, alerts: Sequence[tuple[str, int, bytes]], per_second: int
) -> dict[tuple[str, int], float]:
    """Publish evenly; return when each was handed to the socket (monotonic seconds)."""
    bell = Bell()
    connection = Connection(BrokerSettings(HOST, port, "fleet"), Session())
    connection.open(bell, lambda: False)
    sent: dict[tuple[str, int], float] = {}
    began = time.monotonic()
    for count, (device, sequence, message) in enumerate(alerts):
        while (early_s := began + count / per_second - time.monotonic()) > 0:
            connection.turn(early_s, bell)
        sent[device, sequence] = time.monotonic()
        connection.publish(alert_topic(SITE, device, "urgent"), message)
        connection.turn(0.0, bell)
    while len(connection.acknowledged) < len(alerts):
        connection.turn(1.0, bell)
    connection.close(bell, 2.0)
    bell.close()
    return sent


def _stored(logs: Sequence[Path], wanted: int) -> dict[tuple[str, int], float]:
    """Return when each was stored, once all are there or a minute is over."""
    deadline = time.monotonic() + _LATEST_S
    while True:
        stored = read_log(logs)
        if len(stored) >= wanted or time.monotonic() > deadline:
            return stored
        time.sleep(0.2)


def read_log(logs: Sequence[Path]) -> dict[tuple[str, int], float]:
    """Read what central processes wrote down; a line that is being written is left out."""
    stored: dict[tuple[str, int], float] = {}
    for log in logs:
        for line in log.read_text("utf-8").splitlines():
            parts = line.split()
            if len(parts) == 3 and len(parts[2].partition(".")[2]) == 6:
                stored[parts[0], int(parts[1])] = float(parts[2])
    return stored
