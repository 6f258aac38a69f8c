"""A SQLite database (WAL) as the appliance keeps it: durable commits, shared by threads.

The journal and the console's database are both of this kind; each has its own schema and says
in its own words what is wrong with its file.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

BUSY_TIMEOUT_S = 10.0


class Database:
    """A connection that threads may share.

    Parameters
    ----------
    connection : sqlite3.Connection
        In autocommit mode (`isolation_level` None), not bound to a thread.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._lock = threading.RLock()  # guards the connection: one transaction at a time
        self._connection = connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run statements as one transaction: all of them are durable after it, or none.

        Within another transaction of the same thread they are part of that one.
        """
        with self._lock:
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have ended it already
                    self._connection.execute("ROLLBACK")
                raise

    def fold(self) -> None:
        """Write the log back into the database and empty it: what was deleted is in neither.

        Raises
        ------
        sqlite3.OperationalError
            If another program reads all the while, or there is no room.
        """
        with self._lock:
            busy, *_ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("another program reads the database")

    def compact(self) -> None:
        """Write every page anew, and the log back.

        What was deleted is overwritten as it is deleted, but pages that were split before can hold
        a second copy of a row in a part that nothing uses. Here such copies end.

        Raises
        ------
        sqlite3.OperationalError
            If there is no room: as much again as the database has is needed for a while.
        """
        with self._lock:
            try:
                self._connection.execute("VACUUM")
            finally:
                self.fold()  # all of it went through the log

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Run queries while no other thread writes on this connection."""
        with self._lock:
            yield self._connection

    def close(self) -> None:
        """Close the database; the write-ahead log is folded in."""
        with self._lock:
            self._connection.close()


def schema_version(
    connection: sqlite3.Connection,
    migrations: Sequence[str],
    *,
    name: str,
    error: type[RuntimeError],
) -> int:
    """Return how many of `migrations` a database has had.

    Raises
    ------
    RuntimeError
        An `error` that names the database as `name`, if a later version of Scanside wrote it.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        raise error(
            f"{name} has schema {version}; this Scanside knows {len(migrations)}. "
            "Install the version that wrote it, or a later one."
        )
    return version


def prepare(
    connection: sqlite3.Connection,
    migrations: Sequence[str],
    *,
    name: str,
    error: type[RuntimeError],
) -> None:
    """Have commits durable and deletions final, and bring the schema up to date.

    Raises
    ------
    RuntimeError
        As `schema_version` does.
    """
    run = connection.execute
    run("PRAGMA journal_mode = WAL")
    run("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
    # While a table is made anew, what refers to it finds none (SQLite, "ALTER TABLE", section 7).
    run("PRAGMA foreign_keys = OFF")
    run("PRAGMA secure_delete = ON")  # a destroyed key must not linger in free pages
    version = schema_version(connection, migrations, name=name, error=error)
    for number, script in enumerate(migrations[version:], start=version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;"
        )
    run("PRAGMA foreign_keys = ON")
