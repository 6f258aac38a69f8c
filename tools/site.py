"""A whole site on this machine: a broker, an appliance, the keys that join them.

For the demo, the benchmarks and the tests. The appliance is a real process, started as systemd
would start it and ready when it says so (sd_notify), so nobody guesses with a sleep.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge.alerts.broker import BrokerSettings
from edge.config import default_toml
from edge.keys import (
    CENTRAL_PUBLIC,
    DEVICE_PUBLIC,
    CentralKeys,
    add_recipient,
    init_central,
    init_device,
    trust_device,
)
from tools.broker import HOST, LocalBroker, free_port
from tools.central.database import open_database
from tools.central.store import AlertStore, DeviceState
from tools.central.subscriber import Received, Subscriber
from tools.central.trust import TrustWatch
from tools.scanner.peer import Peer

READY_S = 60.0
DEVICE = "demo-1"
SITE = "demo"
ENGINES_READY = "STATUS=Engines ready"


class SiteError(RuntimeError):
    """A part of the site did not start; the text has what it said last."""


class Appliance:
    """``scanside run`` as a process of its own.

    Parameters
    ----------
    folder : Path
        Empty or absent; holds configuration, keys, studies and log.
    settings : mapping
        Changes to the default configuration, ``{"section": {"key": value}}``; the values are
        TOML's.
    broker_port : int
        Of a broker on this machine, without TLS.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Mapping[str, object]], *, broker_port: int
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.console_port = free_port()
        self.config = folder / "config.toml"
        self.keys = folder / "keys"
        self.log = folder / "scanside.log"
        folder.mkdir(parents=True, exist_ok=True)
        ours: dict[str, dict[str, object]] = {
            "device": {"name": DEVICE, "site": SITE},
            "storage": {"folder": "studies", "keys": "keys"},
            "dicom": {"host": HOST, "port": self.port},
            "broker": {"host": HOST, "port": broker_port, "tls": False},
            "console": {"host": HOST, "port": self.console_port, "name": "localhost"},
        }
        for section, values in settings.items():
            ours.setdefault(section, {}).update(values)
        self.config.write_text(configured_toml(ours), encoding="utf-8")
        init_device(self.keys, device=DEVICE, site=SITE)
        self._process: subprocess.Popen[bytes] | None = None
        self._said = ""

    @property
    def peer(self) -> Peer:
        """Where scanners send to."""
        return Peer.parse(f"SCANSIDE@{HOST}:{self.port}")

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        if self._process is None:
            raise SiteError("The appliance is not running.")
        return self._process.pid

    def start(self, *, wait_for: str = ENGINES_READY) -> None:
        """Start the daemon and wait until it says `wait_for` to its service manager.

        Raises
        ------
        SiteError
            When it ends, or says nothing of it within a minute.
        """
        place = f"\0scanside-site-{os.getpid()}-{id(self)}-{time.monotonic_ns()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(place)
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "edge.cli", "run", "--config", str(self.config)],
                    env={**os.environ, "NOTIFY_SOCKET": "@" + place[1:]},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C in the demo's terminal is the demo's
                )
            self._wait(manager, wait_for)

    def _wait(self, manager: socket.socket, wait_for: str) -> None:
        deadline = time.monotonic() + READY_S
        while True:
            ready, _, _ = select.select([manager], [], [], 0.1)
            if ready and wait_for in manager.recv(4096).decode():
                return
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise SiteError(f"The appliance did not start: {self.tail()}")

    @property
    def running(self) -> bool:
        """Whether the daemon's process lives."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it as a power cut would: ``kill -9``."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End it as systemd would; return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def tail(self, lines: int = 5) -> str:
        """Return the last lines of its log."""
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def run_cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``scanside ... --config`` of this appliance."""
        return subprocess.run(
            [sys.executable, "-m", "edge.cli", *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


class Central:
    """A central server's receiver, in a thread of this process.

    Parameters
    ----------
    folder : Path
        Empty or absent; holds keys and what was received.
    broker_port : int
        Of a broker on this machine.
    on_alert : callable
        Called with each new alert, from the receiver's thread.
    """

    def __init__(
        self,
        folder: Path,
        *,
        broker_port: int,
        on_alert: Callable[[Received], None],
        on_state: Callable[[DeviceState], None] | None = None,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.keys = folder / "keys"
        self.file = folder / "alerts.db"
        if not self.keys.exists():
            init_central(self.keys, "demo-central")
        self._broker_port = broker_port
        self._on_alert = on_alert
        self._on_state = on_state
        self._store: AlertStore | None = None
        self.subscriber: Subscriber | None = None

    def join(self, appliance: Appliance) -> None:
        """Have appliance and server know each other."""
        add_recipient(appliance.keys, self.keys / CENTRAL_PUBLIC)
        trust_device(self.keys, appliance.keys / DEVICE_PUBLIC)

    def start(self) -> None:
        """Subscribe, and wait until the broker has confirmed it.

        Raises
        ------
        SiteError
            When it does not within a minute.
        """
        settings = BrokerSettings(HOST, self._broker_port, "demo-central")
        self._store = AlertStore(open_database(str(self.file)))
        self.subscriber = Subscriber(
            settings,
            CentralKeys.load(self.keys),
            TrustWatch(self.keys),
            self._store,
            on_alert=self._on_alert,
            on_state=self._on_state,
        )
        self.subscriber.start()
        if not self.subscriber.wait_until_subscribed(READY_S):
            raise SiteError("The broker did not confirm the subscription.")

    def stop(self) -> None:
        """Stop receiving; the broker keeps what comes until the next start."""
        if self.subscriber is not None:
            self.subscriber.stop()


class LocalSite:
    """Broker, appliance and central, as a context.

    Parameters
    ----------
    folder : Path
        For all of it.
    on_alert : callable
        Called with each new alert at central.
    settings : mapping
        Changes to the appliance's default configuration.
    """

    def __init__(
        self,
        folder: Path,
        *,
        on_alert: Callable[[Received], None],
        settings: Mapping[str, Mapping[str, object]] | None = None,
        on_state: Callable[[DeviceState], None] | None = None,
    ) -> None:
        (folder / "broker").mkdir(parents=True, exist_ok=True)
        self.broker = LocalBroker(folder / "broker")
        self.appliance = Appliance(
            folder / "appliance", settings or {}, broker_port=self.broker.port
        )
        self.central = Central(
            folder / "central",
            broker_port=self.broker.port,
            on_alert=on_alert,
            on_state=on_state,
        )
        self.central.join(self.appliance)

    def __enter__(self) -> LocalSite:
        try:
            self.broker.start()
            self.central.start()
            self.appliance.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.appliance.stop()
        self.central.stop()
        self.broker.stop()


def configured_toml(changes: Mapping[str, Mapping[str, object]]) -> str:
    """Return the default configuration file with some keys changed."""
    section = ""
    lines = []
    for line in default_toml().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        key = line.removeprefix("# ").split(" =")[0]
        if " =" in line and key in changes.get(section, {}):
            line = f"{key} = {_toml(changes[section][key])}"  # noqa: PLW2901
        lines.append(line)
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value) if isinstance(value, (int, float)) else f'"{value}"'
