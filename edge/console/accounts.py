"""Who may use the console: names, roles, passwords, and what a wrong password costs."""

from __future__ import annotations

import sqlite3
import threading
import time
import unicodedata
from dataclasses import dataclass
from enum import Enum

from edge.console import passwords
from edge.console.database import ConsoleDatabase

_LONGEST_NAME = 64


class Role(str, Enum):
    """What somebody is here for."""

    TECHNICIAN = "technician"
    PHYSICIAN = "physician"
    ADMIN = "admin"
    SERVICE = "service"


# Who cares for patients sees who they are; who cares for the machine sees pseudonyms.
CLINICAL = frozenset({Role.TECHNICIAN, Role.PHYSICIAN})
MACHINE = frozenset({Role.ADMIN, Role.SERVICE})
EVERYBODY = frozenset(Role)


class AccountError(ValueError):
    """An account cannot be made, changed or found; the text says why."""


@dataclass(frozen=True, slots=True)
class User:
    """An account.

    Parameters
    ----------
    id : int
    name : str
        Unique; upper and lower case are the same.
    role : Role
    language : str or None
        What they chose; None while they did not.
    created : float
        Seconds since the epoch.
    locked_until : float
        Closed after wrong passwords until then; in the past when it is not.
    external : bool
        Comes from the hospital's own log-in (OIDC).
    """

    id: int
    name: str
    role: Role
    language: str | None
    created: float
    locked_until: float
    external: bool

    @property
    def actor(self) -> str:
        """What the audit calls them."""
        return f"console:{self.name} ({self.role.value})"

    @property
    def clinical(self) -> bool:
        """Whether they may see who a patient is."""
        return self.role in CLINICAL


@dataclass(frozen=True, slots=True)
class Refused:
    """Why somebody was not let in.

    Parameters
    ----------
    user : User or None
        Whose account it was; None when there is no such account.
    wait_s : float
        Seconds until the account is open again; 0 when it is.
    """

    user: User | None
    wait_s: float


class Accounts:
    """The accounts; threads may share it, and the command line has one of its own."""

    def __init__(self, database: ConsoleDatabase) -> None:
        self._database = database
        # One password at a time: each costs memory that the analysis could use.
        self._verifying = threading.Lock()

    def add(self, name: str, role: Role, password: str) -> User:
        """Make an account.

        Raises
        ------
        AccountError
            If the name is taken or cannot be one.
        WeakPassword
            If the password is not good enough.
        """
        name = _checked(name)
        kept = passwords.keep(password)
        try:
            with self._database.transaction() as write:
                row = write.execute(
                    "INSERT INTO users (name, role, password, created) VALUES (?,?,?,?)"
                    " RETURNING *",
                    (name, role.value, kept, time.time()),
                ).fetchone()
        except sqlite3.IntegrityError as error:
            raise AccountError(f"There is an account {name!r} already.") from error
        return user_of(row)

    def remove(self, name: str) -> None:
        """Remove an account; its sessions end at once. Raises `AccountError` if there is none."""
        self._change("DELETE FROM users WHERE name = ?", name)

    def set_password(self, name: str, password: str) -> None:
        """Give an account a new password; its sessions end at once, and it is not locked.

        Raises
        ------
        AccountError
            If there is no such account, or it comes from the hospital's own log-in.
        WeakPassword
            If the password is not good enough.
        """
        kept = passwords.keep(password)
        if self._row(name)["subject"] is not None:
            raise AccountError(f"{name!r} logs in at the hospital's own log-in, without one here.")
        self._change(
            "UPDATE users SET password = ?, failures = 0, locked_until = 0 WHERE name = ?",
            kept,
            name,
        )
        with self._database.transaction() as write:
            write.execute(
                "DELETE FROM sessions WHERE user_id = (SELECT id FROM users WHERE name = ?)",
                (name,),
            )

    def set_language(self, user_id: int, language: str) -> None:
        """Remember the language somebody chose."""
        with self._database.transaction() as write:
            write.execute("UPDATE users SET language = ? WHERE id = ?", (language, user_id))

    def all(self) -> list[User]:
        """Return every account, by name."""
        with self._database.reading() as read:
            rows = read.execute("SELECT * FROM users ORDER BY name").fetchall()
        return [user_of(row) for row in rows]

    def any(self) -> bool:
        """Return whether there is an account at all."""
        with self._database.reading() as read:
            return read.execute("SELECT 1 FROM users LIMIT 1").fetchone() is not None

    def sign_in(self, name: str, password: str, *, now: float) -> User | Refused:
        """Let somebody in with name and password, or say why not.

        Parameters
        ----------
        name, password : str
            As typed.
        now : float
            Seconds since the epoch.
        """
        with self._verifying:
            try:
                row = self._row(_folded(name))
            except AccountError:
                passwords.matches(None, password)
                return Refused(None, 0.0)
            if row["locked_until"] > now:
                return Refused(user_of(row), row["locked_until"] - now)
            if passwords.matches(row["password"], password):
                self._note_failures(row["id"], 0, 0.0)
                return user_of(row)
            failures = row["failures"] + 1
            wait = passwords.wait_s(failures)
            self._note_failures(row["id"], failures, now + wait if wait else 0.0)
            return Refused(user_of(row), wait)

    def external(self, subject: str, name: str, role: Role) -> User:
        """Return the account of somebody whom the hospital's own log-in let in; made when new.

        Parameters
        ----------
        subject : str
            Issuer and subject, which never change.
        name : str
            As the log-in calls them.
        role : Role
            As the log-in says today.

        Raises
        ------
        AccountError
            If another account has this name.
        """
        try:
            with self._database.transaction() as write:
                row = write.execute(
                    "INSERT INTO users (name, role, subject, created) VALUES (?,?,?,?)"
                    " ON CONFLICT (subject) DO UPDATE SET role = excluded.role,"
                    " name = excluded.name RETURNING *",
                    (_checked(name), role.value, subject, time.time()),
                ).fetchone()
        except sqlite3.IntegrityError as error:
            raise AccountError(
                f"Another account is called {name!r}. Remove it, or call it otherwise."
            ) from error
        return user_of(row)

    def _note_failures(self, user_id: int, failures: int, locked_until: float) -> None:
        with self._database.transaction() as write:
            write.execute(
                "UPDATE users SET failures = ?, locked_until = ? WHERE id = ?",
                (failures, locked_until, user_id),
            )

    def _row(self, name: str) -> sqlite3.Row:
        with self._database.reading() as read:
            row: sqlite3.Row | None = read.execute(
                "SELECT * FROM users WHERE name = ?", (name,)
            ).fetchone()
        if row is None:
            raise AccountError(f"There is no account {name!r}. See: scanside users list")
        return row

    def _change(self, statement: str, *values: str) -> None:
        with self._database.transaction() as write:
            changed = write.execute(statement, values).rowcount
        if not changed:
            raise AccountError(f"There is no account {values[-1]!r}. See: scanside users list")


def user_of(row: sqlite3.Row) -> User:
    """Return the account that a row of `users` tells of."""
    return User(
        id=row["id"],
        name=row["name"],
        role=Role(row["role"]),
        language=row["language"],
        created=row["created"],
        locked_until=row["locked_until"],
        external=row["subject"] is not None,
    )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip())


def _checked(name: str) -> str:
    folded = _folded(name)
    if not folded or len(folded) > _LONGEST_NAME or not folded.isprintable():
        raise AccountError(f"A name has 1 to {_LONGEST_NAME} printable characters.")
    return folded
