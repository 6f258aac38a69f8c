"""``scanside-central run``: receive, verify, keep and hand on."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from edge.alerts.broker import BrokerSettings, TlsSettings
from edge.alerts.topics import check_name
from edge.commands.arguments import Commands, command
from edge.keys import CentralKeys, load_trusted
from edge.service import ALIVE, READY, STOPPING, notify, watchdog_interval_s
from tools.central.commands.arguments import broker_address, days
from tools.central.lines import alert_line, counts_line, state_line
from tools.central.store import AlertStore
from tools.central.subscriber import DeviceState, Received, Subscriber

_TLS_PORT = 8883
_CLEAR_PORT = 1883


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    run = command(commands, "run", _run, "receive alerts until Ctrl-C")
    run.add_argument("--keys", type=Path, required=True, metavar="FOLDER")
    run.add_argument("--broker", required=True, metavar="HOST[:PORT]", type=broker_address)
    run.add_argument("--tls", action="store_true", help="TLS, with the system's CAs")
    run.add_argument("--tls-ca", type=Path, help="CA of the broker's certificate; turns TLS on")
    run.add_argument("--tls-cert", type=Path, help="our certificate, when the broker asks")
    run.add_argument("--tls-key", type=Path)
    run.add_argument("--username")
    run.add_argument("--password-file", type=Path)
    run.add_argument("--client-id", help="must stay the same; default: central- and the name")
    run.add_argument("--site", help="only this site's alerts")
    run.add_argument("--out", type=Path, default=Path("alerts.jsonl"), help="file to append to")
    run.add_argument("--max-age-days", type=days, help="refuse alerts older than this")
    run.add_argument("--json", action="store_true", help="print JSON lines")


def _run(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    keys = CentralKeys.load(options.keys)
    if options.site is not None:
        check_name(options.site, "site")
    store = AlertStore(options.out)
    try:
        return _receive(options, keys, store)
    finally:
        store.close()


def _receive(options: argparse.Namespace, keys: CentralKeys, store: AlertStore) -> int:
    console = Console(stderr=options.json, highlight=False)
    if store.torn_bytes:
        console.print(f"cut {store.torn_bytes} torn bytes off the end of {store.file}")
    subscriber = Subscriber(
        _settings(options, keys),
        keys,
        lambda: load_trusted(options.keys),
        store,
        on_alert=_print_json if options.json else lambda one: console.print(alert_line(one)),
        on_state=_state_printer(console),
        on_turn=_watchdog(),
        site=options.site,
        max_age=options.max_age_days,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: subscriber.stop())
    console.print(f"{keys.name}: {store.records} alerts in {store.file}, waiting for more")
    notify(READY)
    try:
        subscriber.run()
    finally:
        notify(STOPPING)
        console.print(counts_line(subscriber.counts))
    return 0


def _settings(options: argparse.Namespace, keys: CentralKeys) -> BrokerSettings:
    host, port = options.broker
    tls = None
    if options.tls or options.tls_ca or options.tls_cert:
        tls = TlsSettings(options.tls_ca, options.tls_cert, options.tls_key)
    return BrokerSettings(
        host=host,
        port=port or (_TLS_PORT if tls else _CLEAR_PORT),
        client_id=options.client_id or f"central-{keys.name}",
        tls=tls,
        username=options.username,
        password_file=options.password_file,
    )


def _print_json(received: Received) -> None:
    sys.stdout.write(received.record.line().decode())
    sys.stdout.flush()


def _state_printer(console: Console) -> Callable[[DeviceState], None]:
    return lambda state: console.print(state_line(state))


def _watchdog() -> Callable[[], None]:
    """Return what tells systemd that the loop is alive, as often as it asked for."""
    interval_s = watchdog_interval_s()
    due = time.monotonic()

    def tick() -> None:
        nonlocal due
        if interval_s is not None and time.monotonic() >= due:
            notify(ALIVE)
            due = time.monotonic() + interval_s

    return tick
