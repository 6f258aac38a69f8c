"""``scanside alerts``: what went out."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone

from edge.alerts.sealing import open_sealed
from edge.commands import listing
from edge.commands.arguments import (
    CommandError,
    Commands,
    command,
    group,
    list_options,
    number,
    open_journal,
)
from edge.config import load_config
from edge.keys import DeviceKeys
from edge.store.lookup import find_alerts, list_alerts, sealed_alert


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands to the command line."""
    alerts = group(commands, "alerts", "what went out")
    list_options(command(alerts, "list", _list, "the latest alerts"))
    show = command(alerts, "show", _show, "one alert, opened")
    show.add_argument("sequence", type=number, help="its number in `alerts list`")
    list_options(show)


def _list(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    with open_journal(config) as journal:
        alerts = list_alerts(journal, options.limit)
    listing.print_alerts(alerts, as_json=options.json)
    return 0


def _show(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    keys = DeviceKeys.load(config.storage.keys)
    with open_journal(config) as journal:
        sealed = sealed_alert(journal, options.sequence)
        known = find_alerts(journal, [options.sequence])
        latest = [
            newest.sequence
            for alert in known
            if alert.study_id is not None
            for newest in list_alerts(journal, 1, alert.study_id)
            if newest.sequence != alert.sequence
        ]
    if known and sealed is None:
        raise CommandError(f"Alert {options.sequence} was erased with its study.")
    if sealed is None:
        raise CommandError(f"There is no alert {options.sequence}. See: scanside alerts list")
    opened = open_sealed(
        sealed,
        me=keys.opening,
        trusted=keys.trust_in_itself,
        now=datetime.now(timezone.utc),
        max_age=None,
    )
    listing.print_alert(opened.body, latest, as_json=options.json)
    return 0
