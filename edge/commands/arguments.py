"""How a command is declared, and the arguments that many of them take."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from edge.config import Config, load_config
from edge.store.journal import Journal

DEFAULT_CONFIG = Path("/etc/scanside/config.toml")

Commands = argparse._SubParsersAction
Run = Callable[[argparse.Namespace], int]


class CommandError(RuntimeError):
    """A command cannot do what was asked; the text says why and what to do."""


def group(
    commands: Commands[argparse.ArgumentParser], name: str, text: str
) -> Commands[argparse.ArgumentParser]:
    """Add a group of commands, such as ``scanside studies``."""
    parser = commands.add_parser(name, help=text, description=text)
    return parser.add_subparsers(required=True, metavar="COMMAND")


def command(
    commands: Commands[argparse.ArgumentParser], name: str, run: Run, text: str
) -> argparse.ArgumentParser:
    """Add a command; `run` gets the parsed options and returns the exit code."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=run)
    return parser


def config_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--config FILE``."""
    parser.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help=f"default: {DEFAULT_CONFIG}",
    )


def config_to_look(options: argparse.Namespace) -> Config:
    """Return the configuration, or its defaults where none was named and none is written yet.

    For commands that only look on, so that a card can be read before anything is set up.
    """
    if options.config == DEFAULT_CONFIG and not DEFAULT_CONFIG.exists():
        return Config()
    return load_config(options.config)


def list_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--config``, ``--json`` and ``--limit``."""
    config_option(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--limit", type=number, default=20, help="how many at most (20)")


def number(text: str) -> int:
    """Read a number from 1 on, as SQLite can hold it."""
    # SQLite counts to 2^63 - 1.
    if not text.isdecimal() or not 1 <= int(text[:20]) < 1 << 63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def open_journal(config: Config) -> closing[Journal]:
    """Open the appliance's journal to look on, while the daemon runs or not."""
    return closing(Journal(config.storage.folder / "journal.db", read_only=True))
