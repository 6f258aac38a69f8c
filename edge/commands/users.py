"""``scanside users``: who may open the console."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge.audit import Act, Audit
from edge.commands.arguments import CommandError, Commands, command, config_option, group
from edge.config import load_config
from edge.console.accounts import AccountError, Accounts, Role, User
from edge.console.database import ConsoleDatabase, ConsoleDatabaseError
from edge.console.passwords import WeakPassword
from edge.keys import DeviceKeys
from edge.store.journal import Journal


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands to the command line."""
    users = group(commands, "users", "who may open the console")
    new = command(users, "add", _add, "make an account; the password is asked for")
    new.add_argument("name")
    new.add_argument("--role", required=True, choices=[role.value for role in Role])
    _password_option(new)
    config_option(new)
    listed = command(users, "list", _list, "every account")
    listed.add_argument("--json", action="store_true", help="print JSON")
    config_option(listed)
    gone = command(users, "remove", _remove, "remove an account; its sessions end at once")
    gone.add_argument("name")
    config_option(gone)
    change = command(users, "passwd", _passwd, "give an account a new password, and unlock it")
    change.add_argument("name")
    _password_option(change)
    config_option(change)


def _password_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="read the password from a file's first line ('-': standard input)",
    )


def _add(options: argparse.Namespace) -> int:
    with _accounts(options) as (accounts, audit):
        user = accounts.add(options.name, Role(options.role), _password(options))
        audit.note(Act(_who(), "users.added", f"user:{user.name} ({user.role.value})"))
    print(f"Made the account of {user.name}, {user.role.value}.")
    return 0


def _passwd(options: argparse.Namespace) -> int:
    with _accounts(options) as (accounts, audit):
        accounts.set_password(options.name, _password(options))
        audit.note(Act(_who(), "users.password", f"user:{options.name}"))
    print(f"{options.name} has a new password; open sessions have ended.")
    return 0


def _remove(options: argparse.Namespace) -> int:
    with _accounts(options) as (accounts, audit):
        accounts.remove(options.name)
        audit.note(Act(_who(), "users.removed", f"user:{options.name}"))
    print(f"Removed the account of {options.name}; its sessions have ended.")
    return 0


def _list(options: argparse.Namespace) -> int:
    with _accounts(options) as (accounts, _audit):
        users = accounts.all()
    if options.json:
        print(json.dumps([_as_json(user) for user in users], indent=2))
        return 0
    if not users:
        print("No account yet. Make the first: scanside users add NAME --role admin")
        return 0
    table = Table("name", "role", "since", "note", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for user in users:
        since = datetime.fromtimestamp(user.created).astimezone()
        table.add_row(user.name, user.role.value, f"{since:%Y-%m-%d}", _note(user))
    Console(highlight=False, markup=False, emoji=False).print(table)
    return 0


def _as_json(user: User) -> dict[str, object]:
    return {
        "name": user.name,
        "role": user.role.value,
        "created": user.created,
        "external": user.external,
        "locked_until": user.locked_until,
    }


def _note(user: User) -> str:
    if user.locked_until > datetime.now().astimezone().timestamp():
        return "closed for now after wrong passwords"
    return "logs in at the hospital's own log-in" if user.external else ""


@contextmanager
def _accounts(options: argparse.Namespace) -> Iterator[tuple[Accounts, Audit]]:
    config = load_config(options.config)
    keys = DeviceKeys.load(config.storage.keys)
    try:
        with (
            closing(ConsoleDatabase(config.storage.folder)) as database,
            closing(Journal(config.storage.folder / "journal.db")) as journal,
        ):
            yield Accounts(database), Audit(journal, lambda: keys.signing)
    except (AccountError, ConsoleDatabaseError, WeakPassword) as error:
        raise CommandError(str(error)) from error


def _who() -> str:
    return f"cli:{getpass.getuser()}"


def _password(options: argparse.Namespace) -> str:
    file: Path | None = options.password_file
    if file is not None:
        text = sys.stdin.readline() if str(file) == "-" else file.read_text(encoding="utf-8")
        return text.split("\n", maxsplit=1)[0].rstrip("\r")
    if not sys.stdin.isatty():
        raise CommandError("There is no terminal to ask for the password. Use --password-file.")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != first:
        raise CommandError("The two passwords differ; nothing was changed.")
    return first
