"""``scanside config``: the configuration file."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge.commands.arguments import DEFAULT_CONFIG, CommandError, Commands, command, group
from edge.config import default_toml


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands to the command line."""
    config = group(commands, "config", "the configuration file")
    init = command(config, "init", _init, "write a commented default")
    init.add_argument("file", type=Path, nargs="?", default=DEFAULT_CONFIG)


def _init(options: argparse.Namespace) -> int:
    file: Path = options.file
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(default_toml())
    except FileExistsError:
        raise CommandError(f"{file} exists already; it was left as it is.") from None
    except FileNotFoundError:
        raise CommandError(f"{file.parent}: no such folder. Make it first.") from None
    print(f"Wrote {file}. Edit it, then: scanside keys init --config {file}")
    return 0
