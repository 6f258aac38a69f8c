"""``scanside-central run``: receive, verify, keep, answer and hand on."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from edge.commands.arguments import CommandError, Commands, command
from edge.config import Broker
from edge.names import check_name
from edge.service import ALIVE, READY, STOPPING, notify, watchdog_interval_s
from tools.central.commands.arguments import broker_address, days
from tools.central.hand_on import as_line
from tools.central.lines import alert_line, counts_line, state_line
from tools.central.rules import Rules
from tools.central.server import Server
from tools.central.settings import CentralSettings, HandOn, Site, Store, read_settings
from tools.central.site_folder import SETTINGS
from tools.central.store import DeviceState
from tools.central.subscriber import Received

_TLS_PORT = 8883
_CLEAR_PORT = 1883


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    run = command(commands, "run", _run, "receive alerts until Ctrl-C")
    run.add_argument("folder", type=Path, nargs="?", help="a site's, made by `init`")
    run.add_argument("--json", action="store_true", help="print JSON lines")
    run.add_argument("--max-age-days", type=days, help="refuse alerts older than this")
    run.add_argument("--with-broker", action="store_true", help="run the site's mosquitto, too")
    run.add_argument(
        "--share",
        metavar="GROUP",
        help="share the alerts with the other processes of this group; they use one database",
    )
    run.add_argument("--client-id", help="must stay the same; default: central- and the name")
    lone = run.add_argument_group("without a site's folder")
    lone.add_argument("--keys", type=Path, metavar="FOLDER")
    lone.add_argument("--broker", metavar="HOST[:PORT]", type=broker_address)
    lone.add_argument("--tls", action="store_true", help="TLS, with the system's CAs")
    lone.add_argument("--tls-ca", type=Path, help="CA of the broker's certificate; turns TLS on")
    lone.add_argument("--tls-cert", type=Path, help="our certificate, when the broker asks")
    lone.add_argument("--tls-key", type=Path)
    lone.add_argument("--username")
    lone.add_argument("--password-file", type=Path)
    lone.add_argument("--site", help="only this site's alerts")
    lone.add_argument("--database", help="a file, or postgresql://USER@HOST/NAME (alerts.db)")
    lone.add_argument("--out", type=Path, help="a file that gets a JSON line an alert")


def _run(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    settings = _settings(options)
    console = Console(stderr=options.json, highlight=False)
    server = Server(
        settings,
        on_alert=_print_json if options.json else lambda one: console.print(alert_line(one)),
        on_state=_state_printer(console),
        on_turn=_watchdog(),
        rules=Rules(settings.site.name, options.share, options.max_age_days),
        client_id=options.client_id,
        broker=options.folder / "broker" if options.with_broker else None,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stop())
    console.print(f"{server.name}: {server.kept} alerts so far, waiting for more")
    notify(READY)
    try:
        server.run()
    finally:
        notify(STOPPING)
        console.print(counts_line(server.counts))
    return 0


def _settings(options: argparse.Namespace) -> CentralSettings:
    """Return what a site's folder says, or else the options."""
    if options.folder is not None:
        return read_settings(options.folder / SETTINGS)
    if options.keys is None or options.broker is None:
        msg = "Name a site's folder, or --keys and --broker. See: scanside-central run --help"
        raise CommandError(msg)
    if options.with_broker:
        msg = "--with-broker needs a site's folder: its configuration is in it."
        raise CommandError(msg)
    if options.site is not None:
        check_name(options.site, "site")
    host, port = options.broker
    tls = bool(options.tls or options.tls_ca or options.tls_cert)
    try:
        return CentralSettings(
            site=Site(name=options.site, keys=options.keys),
            broker=Broker(
                host=host,
                port=port or (_TLS_PORT if tls else _CLEAR_PORT),
                tls=tls,
                ca=options.tls_ca,
                cert=options.tls_cert,
                key=options.tls_key,
                username=options.username,
                password_file=options.password_file,
            ),
            store=Store(
                database=options.database or _beside(options.out, "alerts.db"),
                audit=Path(_beside(options.out, "audit.db")),
            ),
            hand_on=HandOn(lines=options.out),
        )
    except ValidationError as error:
        raise CommandError(str(error.errors()[0]["msg"])) from error


def _beside(out: Path | None, name: str) -> str:
    return str((out.parent if out else Path()) / name)


def _print_json(received: Received) -> None:
    sys.stdout.write(as_line(received.record))
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
