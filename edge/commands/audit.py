"""``scanside audit``: what was done here, and whether the record of it is whole."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import datetime, timezone

from edge.alerts.message import Alert
from edge.alerts.sealing import SealError, open_sealed
from edge.audit import Anchor, read_entries, verify
from edge.commands import listing
from edge.commands.arguments import (
    Commands,
    command,
    config_option,
    group,
    list_options,
    open_journal,
)
from edge.config import load_config
from edge.keys import DeviceKeys
from edge.store.journal import Journal
from edge.store.lookup import sealed_alerts


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands to the command line."""
    audit = group(commands, "audit", "who did what, in a chain that shows every change")
    list_options(command(audit, "show", _show, "the latest entries"))
    check = command(audit, "verify", _verify, "find entries that were changed or taken out")
    config_option(check)
    check.add_argument(
        "--anchor",
        type=_anchor,
        action="append",
        default=[],
        metavar="ENTRIES:DIGEST",
        help="a head that a central server knows from an alert (`audit` in its body)",
    )


def _show(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    with open_journal(config) as journal:
        entries = read_entries(journal, options.limit)
    listing.print_audit(entries, as_json=options.json)
    return 0


def _verify(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    keys = DeviceKeys.load(config.storage.keys)
    with open_journal(config) as journal:
        anchors = [*options.anchor, *_anchors(journal, keys)]
        verdict = verify(journal, keys.trust_in_itself, anchors)
    for problem in verdict.problems:
        print(f"The audit was changed: {problem}.")
    if verdict.problems:
        return 1
    print(
        f"The audit is whole. Entries: {verdict.entries}, the last of them signed by this device. "
        f"Alerts that agree with it: {verdict.anchors}."
    )
    return 0


def _anchors(journal: Journal, keys: DeviceKeys) -> Iterator[Anchor]:
    """Yield what the device's own sealed alerts know of the audit."""
    for sealed in sealed_alerts(journal):
        try:
            opened = open_sealed(
                sealed,
                me=keys.opening,
                trusted=keys.trust_in_itself,
                now=datetime.now(timezone.utc),
                max_age=None,
            )
        except SealError:
            continue  # sealed under a key that is gone: it can say nothing any more
        alert = Alert.from_json(opened.body)
        if alert.audit is not None:
            yield Anchor(alert.audit.entries, alert.audit.digest)


def _anchor(text: str) -> Anchor:
    entries, _, digest = text.partition(":")
    if not (entries.isdecimal() and len(digest) == 64):
        raise argparse.ArgumentTypeError(f"{text!r} is not ENTRIES:DIGEST, 64 hex digits")
    return Anchor(int(entries), digest.lower())
