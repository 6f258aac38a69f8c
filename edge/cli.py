"""``scanside``: run the appliance, check it, look at what it did."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from edge.alerts.sealing import SealError
from edge.commands import (
    alerts,
    appliance,
    audit,
    configuration,
    drill,
    keys,
    models,
    results,
    studies,
    training,
    users,
)
from edge.commands.arguments import CommandError
from edge.config import ConfigError
from edge.key_files import KeyFileError
from edge.names import InvalidNameError
from edge.store.documents import DocumentsError
from edge.store.journal import JournalError
from edge.store.study_key import SealBroken
from edge.training.texts import CourseError
from engines import ActivationError, CacheError, EngineError, PackageError
from engines.build import BuildError
from engines.graph.errors import GraphError

# In the order that `scanside --help` shows.
_GROUPS = (
    appliance,
    configuration,
    keys,
    users,
    models,
    studies,
    alerts,
    results,
    drill,
    audit,
    training,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        0 done, 1 failed, 2 wrong usage, configuration or keys (systemd does not try again).
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
        sys.stdout.flush()  # here, where a reader that is gone is no fault
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, head or less, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ConfigError, CourseError, KeyFileError) as error:
        print(f"scanside: {error}", file=sys.stderr)
        return 2
    except (
        ActivationError,
        BuildError,
        CacheError,
        DocumentsError,
        EngineError,
        GraphError,
        InvalidNameError,
        JournalError,
        PackageError,
        SealBroken,
        SealError,
        CommandError,
    ) as error:
        print(f"scanside: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"scanside: {where}{error.strerror or error}.", file=sys.stderr)
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scanside",
        description="Analyses images beside the scanner and publishes sealed alerts. "
        "A flag is a suggestion to look sooner, never a diagnosis.",
    )
    parser.add_argument("--version", action="version", version=f"scanside {version('scanside')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in _GROUPS:
        group.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
