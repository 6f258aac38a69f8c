"""The command `scanside-central`: keys, trust, and receiving alerts."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from edge.alerts.broker import BrokerSettings, TlsSettings
from edge.alerts.topics import InvalidNameError, check_name
from edge.keys import (
    CENTRAL_PUBLIC,
    CentralKeys,
    KeyFileError,
    init_central,
    load_trusted,
    trust_device,
)
from edge.service import ALIVE, READY, STOPPING, notify, watchdog_interval_s
from tools.central.lines import alert_line, counts_line, state_line
from tools.central.store import AlertStore, StoreError
from tools.central.subscriber import DeviceState, Received, Subscriber

_TLS_PORT = 8883
_CLEAR_PORT = 1883


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 for what failed, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.action(options)
    except (KeyFileError, InvalidNameError, StoreError) as error:
        print(f"scanside-central: {error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scanside-central", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    keys = commands.add_parser("keys", help="make keys, trust devices")
    keys_commands = keys.add_subparsers(required=True, metavar="COMMAND")
    init = keys_commands.add_parser("init", help="make this server's keys in a new folder")
    init.add_argument("folder", type=Path)
    init.add_argument("--name", default="central", help="what devices call this server")
    init.set_defaults(action=_keys_init)
    trust = keys_commands.add_parser("trust", help="believe a device from now on")
    trust.add_argument("folder", type=Path)
    trust.add_argument("public_file", type=Path, help="the device's device.public.json")
    trust.set_defaults(action=_keys_trust)
    listing = keys_commands.add_parser("list", help="show this server's and its devices' keys")
    listing.add_argument("folder", type=Path)
    listing.set_defaults(action=_keys_list)

    run = commands.add_parser("run", help="receive alerts until Ctrl-C")
    run.add_argument("--keys", type=Path, required=True, metavar="FOLDER")
    run.add_argument("--broker", required=True, metavar="HOST[:PORT]", type=_broker)
    run.add_argument("--tls", action="store_true", help="TLS, with the system's CAs")
    run.add_argument("--tls-ca", type=Path, help="CA of the broker's certificate; turns TLS on")
    run.add_argument("--tls-cert", type=Path, help="our certificate, when the broker asks")
    run.add_argument("--tls-key", type=Path)
    run.add_argument("--username")
    run.add_argument("--password-file", type=Path)
    run.add_argument("--client-id", help="must stay the same; default: central- and the name")
    run.add_argument("--site", help="only this site's alerts")
    run.add_argument("--out", type=Path, default=Path("alerts.jsonl"), help="file to append to")
    run.add_argument(
        "--max-age-days", type=_days, help="refuse alerts older than this; default: none are"
    )
    run.add_argument("--json", action="store_true", help="print JSON lines")
    run.set_defaults(action=_run)
    return parser


def _keys_init(options: argparse.Namespace) -> int:
    keys = init_central(options.folder, options.name)
    print(f"made the keys of {keys.name} in {options.folder}")
    print(f"give {options.folder / CENTRAL_PUBLIC} to every device that shall write to it")
    return 0


def _keys_trust(options: argparse.Namespace) -> int:
    trusted = trust_device(options.folder, options.public_file)
    print(f"trusts {trusted.device} of {trusted.site}, key {trusted.key.kid}")
    print("compare the key with what the device shows: whoever holds it is believed")
    return 0


def _keys_list(options: argparse.Namespace) -> int:
    keys = CentralKeys.load(options.folder)
    print(f"{keys.name}: signs with {keys.signing.kid}, opens with {keys.sealing.kid}")
    for device in load_trusted(options.folder).by_kid.values():
        print(f"trusts {device.device} of {device.site}, key {device.key.kid}")
    return 0


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


def _broker(text: str) -> tuple[str, int]:
    """Read HOST or HOST:PORT; an IPv6 address stands in brackets. Port 0: the usual one."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, "0"
    if not (host and port.isdigit() and int(port) <= 65535):
        msg = f"{text!r} is not HOST or HOST:PORT, with a port from 1 to 65535"
        raise argparse.ArgumentTypeError(msg)
    return host.removeprefix("[").removesuffix("]"), int(port)


def _days(text: str) -> timedelta:
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 0 < days <= 36500:
        msg = f"{text!r} is not a number of days greater than 0"
        raise argparse.ArgumentTypeError(msg)
    return timedelta(days=days)
