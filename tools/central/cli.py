"""The command ``scanside-central``: a site's keys and broker, and receiving its alerts."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from edge.commands.arguments import CommandError
from edge.config import ConfigError
from edge.keys import KeyFileError
from edge.names import InvalidNameError
from edge.store.journal import JournalError
from tools.broker import BrokerStartError
from tools.central.authority import AuthorityError
from tools.central.commands import keys, run, show, site
from tools.central.database import DatabaseError
from tools.central.store import StoreError

_ERRORS = (
    AuthorityError,
    BrokerStartError,
    CommandError,
    ConfigError,
    DatabaseError,
    InvalidNameError,
    JournalError,
    KeyFileError,
    StoreError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 for what failed, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
        sys.stdout.flush()  # here, where a reader that is gone is no fault
    except _ERRORS as error:
        print(f"scanside-central: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, head or less, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scanside-central", description="Receives the alerts of a site."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (site, keys, run, show):
        group.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
