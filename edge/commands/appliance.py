"""``scanside run`` and ``scanside check``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings

from edge.commands import listing
from edge.commands.arguments import CommandError, Commands, command, config_option
from edge.config import load_config
from edge.decoders import keep_out


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands to the command line."""
    config_option(command(commands, "run", _run, "serve until Ctrl-C or SIGTERM"))
    look = command(commands, "check", _check, "say what is in order and what is not")
    config_option(look)
    look.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    keep_out()
    from edge.daemon import Daemon, DaemonError  # noqa: PLC0415 - pulls in DICOM and MQTT

    config = load_config(options.config)
    logging.basicConfig(
        level=config.log.level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    _silence_libraries()
    try:
        Daemon(config).run()
    except DaemonError as error:
        raise CommandError(str(error)) from error
    return 0


def _check(options: argparse.Namespace) -> int:
    keep_out()
    from edge.check import check  # noqa: PLC0415 - pulls in DICOM

    _silence_libraries()
    results = check(options.config)
    if options.json:
        print(json.dumps([result.as_json() for result in results], indent=2))
    else:
        listing.print_check(results)
    return 1 if any(result.failed for result in results) else 0


def _silence_libraries() -> None:
    """Their own lines and warnings can hold what a sender sent, and say nothing to act on."""
    for library in ("pynetdicom", "pydicom"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
        warnings.filterwarnings("ignore", module=rf"{library}\b")
