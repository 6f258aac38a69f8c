"""``scanside-central devices``, ``alerts``, ``events`` and ``audit``: what this server knows."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from edge.alerts.message import NOTICE
from edge.audit import read_entries, verify
from edge.commands.arguments import CommandError, Commands, command, number
from edge.commands.listing import moment, plain, table
from edge.keys import CENTRAL_PUBLIC, TrustedDevice, TrustedDevices, load_trusted
from edge.keys.public import read_public
from edge.store.journal import Journal
from edge.timestamps import parse_rfc3339
from tools.central import feedback, overview
from tools.central.database import Database, open_database
from tools.central.hand_on.queue import bring_back
from tools.central.settings import CentralSettings, first_line, is_postgresql, read_settings
from tools.central.site_folder import SETTINGS


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands to the command line."""
    _options(command(commands, "devices", _devices, "each device: state, last heard, gaps"))
    alerts = command(commands, "alerts", _alerts, "the latest alerts")
    _options(alerts)
    alerts.add_argument("--show", type=number, metavar="NUMBER", help="one alert as it was signed")
    words = command(commands, "feedback", _feedback, "physicians' words on findings")
    _options(words)
    _options(command(commands, "events", _events, "silence, missed drills, gaps"))
    audit = command(commands, "audit", _audit, "what was refused, and whether the trail is whole")
    _options(audit)
    audit.add_argument("--verify", action="store_true", help="check the whole chain")
    retry = command(commands, "retry", _retry, "hand on again what was set aside")
    _options(retry)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the site's, made by `init`")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--limit", type=number, default=20, help="how many at most (20)")


def _devices(options: argparse.Namespace) -> int:
    settings = _settings(options)
    with closing(_open(settings)) as database:
        rows = overview.devices(database, load_trusted(settings.site.keys))
    columns: dict[str, Callable[[overview.DeviceRow], object]] = {
        "device": lambda row: f"{row.site}/{row.device}",
        "state": _state,
        "last heard": lambda row: _when(row.heard) or "never",
        "alerts": lambda row: row.alerts,
        "missing": lambda row: row.missing or "",
        "to come": lambda row: row.backlog or "",
        "last drill": lambda row: _when(row.last_drill),
    }
    empty = f"No device is enrolled. See: scanside-central enrol {options.folder}"
    _print(options, rows, columns, empty)
    return 0


def _alerts(options: argparse.Namespace) -> int:
    settings = _settings(options)
    with closing(_open(settings)) as database:
        if options.show is not None:
            body = overview.alert_body(database, options.show)
            if body is None:
                msg = f"There is no alert {options.show}. See: scanside-central alerts"
                raise CommandError(msg)
            print(json.dumps(body, indent=2))
            return 0
        rows = overview.alerts(database, options.limit)
    columns: dict[str, Callable[[overview.AlertRow], object]] = {
        "": lambda row: row.id,
        "stored": lambda row: _when(row.stored),
        "device": lambda row: f"{row.site}/{row.device} #{row.sequence}",
        "urgency": lambda row: row.urgency,
        "outcome": lambda row: row.outcome.replace("_", " "),
        "finding": lambda row: row.finding or row.problem,
        "status": lambda row: row.status,
    }
    _print(options, rows, columns, "No alert has come yet.")
    if rows and not options.json:
        print(NOTICE)
    return 0


def _events(options: argparse.Namespace) -> int:
    settings = _settings(options)
    with closing(_open(settings)) as database:
        rows = overview.events(database, options.limit)
    columns: dict[str, Callable[[overview.EventRow], object]] = {
        "since": lambda row: _when(row.moment),
        "what": lambda row: row.kind,
        "device": lambda row: f"{row.site}/{row.device}".strip("/") or "central",
        "": lambda row: row.said,
        "over": lambda row: _when(row.ended) or Text("lasts", "bold red"),
    }
    _print(options, rows, columns, "Nothing has happened that you should know of.")
    return 0


def _feedback(options: argparse.Namespace) -> int:
    with closing(_open(_settings(options))) as database:
        rows = feedback.latest(database, options.limit)
    columns: dict[str, Callable[[feedback.FeedbackRow], object]] = {
        "stored": lambda row: _when(row.stored),
        "device": lambda row: f"{row.site}/{row.device}",
        "finding": lambda row: row.finding,
        "flagged": lambda row: "yes" if row.flagged else "no",
        "word": lambda row: row.verdict,
        "by": lambda row: f"{row.who} ({row.role})",
        "note": lambda row: row.note,
    }
    _print(options, rows, columns, "No physician has said anything of a finding yet.")
    return 0


def _audit(options: argparse.Namespace) -> int:
    settings = _settings(options)
    _require(settings.store.audit)
    with closing(Journal(settings.store.audit, read_only=True)) as journal:
        if options.verify:
            verdict = verify(journal, _trust_in_itself(settings.site.keys), anchors=())
            for problem in verdict.problems:
                print(problem)
            print(f"{verdict.entries} entries, {'NOT as' if verdict.problems else 'as'} written")
            return 1 if verdict.problems else 0
        entries = read_entries(journal, options.limit)
    columns: dict[str, Callable[[Any], object]] = {
        "": lambda row: row.number,
        "when": lambda row: _when(row.when),
        "who": lambda row: row.act.who,
        "what": lambda row: row.act.what,
        "on": lambda row: row.act.on,
        "outcome": lambda row: row.act.outcome,
    }
    _print(options, entries, columns, "Nothing is in the audit yet.")
    return 0


def _retry(options: argparse.Namespace) -> int:
    with closing(_open(_settings(options))) as database:
        count = bring_back(database)
        overview.end_set_aside(database)
    print(f"{count} will be handed on again.")
    return 0


def _settings(options: argparse.Namespace) -> CentralSettings:
    return read_settings(options.folder / SETTINGS)


def _open(settings: CentralSettings) -> Database:
    store = settings.store
    if not is_postgresql(store.database):
        _require(Path(store.database))
        return open_database(store.database)
    file = store.password_file
    password = None if file is None else first_line(file, "PostgreSQL's password")
    return open_database(
        store.database, password=password, ca=None if store.ca is None else str(store.ca)
    )


def _require(file: Path) -> None:
    if not file.exists():
        raise CommandError(f"{file}: nothing was received yet. Start: scanside-central run")


def _print(
    options: argparse.Namespace,
    rows: Sequence[Any],
    columns: dict[str, Callable[[Any], object]],
    empty: str,
) -> None:
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    if not rows:
        print(empty)
        return
    lines = table(*columns)
    for row in rows:
        cells = (value(row) for value in columns.values())
        lines.add_row(*(one if isinstance(one, Text) else Text(plain(str(one))) for one in cells))
    Console(highlight=False, soft_wrap=True).print(lines)


def _state(row: overview.DeviceRow) -> Text:
    if not row.believed:
        return Text("revoked", "bold red")
    if row.online is None:
        return Text("never heard", "yellow")
    return Text("online", "green") if row.online else Text("OFFLINE", "bold red")


def _when(said: str | None) -> str:
    return "" if not said else moment(parse_rfc3339(said).timestamp())


def _trust_in_itself(folder: Path) -> TrustedDevices:
    own = read_public(folder / CENTRAL_PUBLIC, "central")
    itself = TrustedDevice(own.name, "", own.signing, own.sealing)
    return TrustedDevices({own.signing.kid: itself})
