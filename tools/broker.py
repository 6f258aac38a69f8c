"""A broker for the demo, the benchmarks and the tests: on this machine, for this run.

mosquitto when it is installed, else `iotcore`, a broker in a pip wheel (rumqttd inside).
Both speak MQTT 5 with QoS 1, retained messages, last wills and persistent sessions;
iotcore keeps sessions and retained messages in memory alone, so that after a restart of
the broker they are gone. Neither listens beyond this machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HOST = "127.0.0.1"
_START_S = 10.0

# Debian keeps it where an ordinary user's PATH does not look.
_MOSQUITTO_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))

_MOSQUITTO = """\
per_listener_settings true
set_tcp_nodelay true
persistence true
persistence_location {folder}/
autosave_interval 1
autosave_on_changes true
log_dest file {folder}/mosquitto.log
{user}listener {port} {host}
allow_anonymous true
max_queued_messages 100000
"""

# rumqttd's own file; a listener under [v5] is one for MQTT 5.
_IOTCORE = """\
id = 0

[router]
id = 0
max_connections = 200
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "scanside"
listen = "{host}:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 262144
max_inflight_count = 100
dynamic_filters = true
"""


class BrokerStartError(RuntimeError):
    """No broker is installed, or it did not start. The text says what to do."""


class LocalBroker:
    """A broker process that can be stopped and started again on the same port.

    Parameters
    ----------
    folder : Path
        For its configuration, its log and what it keeps.
    port : int or None
        None: one that is free.
    program : str or None
        ``mosquitto`` or ``iotcore``; None: mosquitto if it is installed.
    config : str
        More lines for mosquitto's configuration, for tests of TLS and access control.
    file : Path or None
        A whole configuration for mosquitto that is there already, such as a site's; `port` is
        then the one that it names.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        program: str | None = None,
        config: str = "",
        file: Path | None = None,
    ) -> None:
        self.folder = folder
        self.host = HOST
        self.port = port or free_port()
        self.name = program or ("mosquitto" if find_mosquitto() else "iotcore")
        self._command = self._configure(config) if file is None else self._take(file)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it takes connections.

        Raises
        ------
        BrokerStartError
            When it ends at once or takes none within 10 s; the text has its log's tail.
        """
        with (self.folder / "broker.out").open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in a terminal is for us to pass on, in order
            )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                msg = f"{self.name} did not start on port {self.port}: {self._tail()}"
                raise BrokerStartError(msg)

    def stop(self) -> None:
        """Stop it as a shutdown of the machine would: it may save first."""
        self._end(kill=False)

    def kill(self) -> None:
        """Stop it as a power cut would."""
        self._end(kill=True)

    def reload(self) -> None:
        """Have mosquitto read its files again."""
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=0.05):
                return True
        except OSError:
            # A refusal comes at once; this is the pause between two tries.
            time.sleep(0.01)
            return False

    def _configure(self, more: str) -> Sequence[str]:
        if self.name == "iotcore":
            file = self.folder / "iotcore.toml"
            file.write_text(_IOTCORE.format(host=self.host, port=self.port), "utf-8")
            arguments = ("--config", str(file), "--log-level", "CRITICAL")
            return (sys.executable, "-m", "iotcore", *arguments)
        mosquitto = find_mosquitto()
        if mosquitto is None:
            msg = "mosquitto is not installed: apt-get install mosquitto"
            raise BrokerStartError(msg)
        # As root it would become a user who may not write to the folder.
        user = "user root\n" if os.geteuid() == 0 else ""
        settings = {"folder": self.folder, "user": user, "host": self.host, "port": self.port}
        file = self.folder / "mosquitto.conf"
        file.write_text(_MOSQUITTO.format(**settings) + more, "utf-8")
        return (mosquitto, "-c", str(file))

    def _take(self, file: Path) -> Sequence[str]:
        mosquitto = find_mosquitto()
        if mosquitto is None:
            msg = "mosquitto is not installed: apt-get install mosquitto"
            raise BrokerStartError(msg)
        if os.geteuid() != 0:
            return (mosquitto, "-c", str(file))
        copy = self.folder / "mosquitto-as-root.conf"
        copy.write_text(f"user root\n{file.read_text('utf-8')}", "utf-8")
        return (mosquitto, "-c", str(copy))

    def _tail(self) -> str:
        logs = (self.folder / "broker.out", self.folder / "mosquitto.log")
        text = "".join(log.read_text("utf-8", "replace") for log in logs if log.exists())
        return " | ".join(text.splitlines()[-3:])


@contextmanager
def running_broker(folder: Path) -> Iterator[tuple[str, int]]:
    """Run a broker and yield its host and port.

    Parameters
    ----------
    folder : Path
        Exists; for its configuration, its log and what it keeps.

    Raises
    ------
    BrokerStartError
        When there is none, or it does not start.
    """
    broker = LocalBroker(folder)
    broker.start()
    try:
        yield broker.host, broker.port
    finally:
        broker.stop()


def find_mosquitto() -> str | None:
    """Return where mosquitto is installed, or None."""
    return shutil.which("mosquitto", path=_MOSQUITTO_PATH)


def free_port() -> int:
    """Return a port that is free now. Somebody may take it before we do; then a start fails."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port
