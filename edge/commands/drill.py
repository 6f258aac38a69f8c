"""``scanside drill``: a test alarm through the whole chain, and how long each part of it took."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from contextlib import closing

from edge.alerts.drill import send_drill
from edge.alerts.reception import ReceiptRules
from edge.audit import Audit
from edge.commands import listing
from edge.commands.acting import actor
from edge.commands.arguments import CommandError, Commands, command, config_option, number
from edge.config import Config, load_config
from edge.keys import KeyRing
from edge.store.journal import Journal
from edge.store.lookup import Delivery, delivery_of
from edge.store.outbox import Outbox

_LOOK_S = 0.02


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    drill = command(commands, "drill", _drill, "send a test alarm and time each part of its way")
    drill.add_argument(
        "--timeout", type=number, default=60, metavar="S", help="seconds to wait (60)"
    )
    drill.add_argument("--json", action="store_true", help="print JSON")
    config_option(drill)


def _drill(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    file = config.storage.folder / "journal.db"
    if not file.exists():
        raise CommandError(f"{file}: there is no journal yet. Start the daemon: scanside run")
    with closing(Journal(file)) as journal:
        sequence = _send(config, journal)
        said = f"Drill {sequence} is on its way; its receipts are waited for {options.timeout} s."
        print(said, file=sys.stderr)
        delivery = _wait(journal, sequence, options.timeout)
    if options.json:
        print(json.dumps(delivery.as_json(), indent=2))
    else:
        listing.print_drill(delivery)
    if delivery.settled is not None:
        return 0
    if delivery.published is None:
        raise CommandError(
            f"No broker took the drill within {options.timeout} s. Does `scanside run` run? "
            "What does `scanside check` say of the broker?"
        )
    owed = ", ".join(delivery.owed_by)
    raise CommandError(f"No receipt came within {options.timeout} s from: {owed}.")


def _send(config: Config, journal: Journal) -> int:
    alerts = config.alerts
    rules = ReceiptRules(alerts.receipts, alerts.receipts_from, alerts.escalate_after_s)
    keys = KeyRing(config.storage.keys).current
    audit = Audit(journal, lambda: keys.own.signing)
    return send_drill(Outbox(journal), audit, keys, rules, actor())


def _wait(journal: Journal, sequence: int, timeout_s: float) -> Delivery:
    """Look until the drill is settled or the time is over; the daemon does the rest."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()  # never set: Ctrl-C ends the wait
    while True:
        delivery = delivery_of(journal, sequence)
        if delivery is None:
            raise CommandError(f"The drill {sequence} is no longer in the journal.")
        if delivery.settled is not None or time.monotonic() > deadline:
            return delivery
        pause.wait(_LOOK_S)
