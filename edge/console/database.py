"""The console's own database (SQLite, WAL): accounts, sessions, acknowledgements.

It stands beside the journal and not in it: the journal has one writer, the daemon, while an
account is also made or locked from the command line as the daemon runs. It knows studies and
alerts by number alone.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from edge.store.database import BUSY_TIMEOUT_S, Database, prepare
from edge.store.journal import JournalError

FILE = "console.db"

# Each entry moves the schema one version up; entries are never edited, only added.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE users (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE COLLATE NOCASE,
        role TEXT NOT NULL,
        password TEXT,                       -- Argon2id; NULL: comes by OIDC alone
        subject TEXT UNIQUE,                 -- issuer and subject of an OIDC account
        language TEXT,
        created REAL NOT NULL,
        failures INTEGER NOT NULL DEFAULT 0, -- wrong passwords since the last right one
        locked_until REAL NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE sessions (
        digest BLOB PRIMARY KEY,             -- SHA-256 of the cookie: the file opens no session
        user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        csrf TEXT NOT NULL,
        created REAL NOT NULL,
        seen REAL NOT NULL
    ) STRICT;
    CREATE INDEX sessions_of_user ON sessions (user_id);
    CREATE TABLE acknowledgements (
        sequence INTEGER PRIMARY KEY,        -- of the alert
        study_id INTEGER NOT NULL,
        name TEXT NOT NULL,                  -- as it was then: a removed account still acknowledged
        role TEXT NOT NULL,
        at REAL NOT NULL
    ) STRICT;
    """,
    """
    CREATE TABLE training_steps (
        user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        course TEXT NOT NULL,
        version TEXT NOT NULL,
        step TEXT NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (user_id, course, version, step)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE training_cases (
        user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        case_id TEXT NOT NULL,
        answer INTEGER NOT NULL,             -- 0 is the right one
        at REAL NOT NULL,
        PRIMARY KEY (user_id, case_id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE training_tests (
        id INTEGER PRIMARY KEY,
        user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        role TEXT NOT NULL,
        version TEXT NOT NULL,               -- of the course
        seed BLOB NOT NULL,                  -- the whole test follows from it
        started REAL NOT NULL,
        finished REAL,
        answers TEXT,
        score INTEGER
    ) STRICT;
    CREATE INDEX training_tests_of ON training_tests (user_id, id);
    """,
)


class ConsoleDatabaseError(JournalError):
    """The console's database cannot be used; the text says why and what to do."""


class ConsoleDatabase(Database):
    """A connection that threads may share; several processes may have one each.

    Parameters
    ----------
    folder : Path
        ``[storage] folder``; the file is made in it when absent.

    Raises
    ------
    ConsoleDatabaseError
        If the file is damaged or was made by a later version of Scanside.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / FILE
        try:
            super().__init__(_open(path))
        except sqlite3.DatabaseError as error:
            raise ConsoleDatabaseError(
                f"{path}: {error}. Restore the file from a backup, or move it away and make the "
                "accounts anew with `scanside users add`."
            ) from error


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.row_factory = sqlite3.Row
        path.chmod(0o600)
        if os.geteuid() == 0:
            # `sudo scanside users add` must not shut the daemon, another user, out of it.
            owner = path.parent.stat()
            os.chown(path, owner.st_uid, owner.st_gid)
        prepare(connection, MIGRATIONS, name=str(path), error=ConsoleDatabaseError)
    except BaseException:
        connection.close()
        raise
    return connection
