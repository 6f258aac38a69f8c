"""SQLite in a file: the default, with nothing to install."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.central.database.dialect import DatabaseError, Dialect, Row

_BUSY_S = 30.0


class SqliteDatabase:
    """A connection to a database file, made with 0600 when absent.

    Raises
    ------
    DatabaseError
        When it can be read by others, is damaged, or cannot be opened.
    """

    dialect = Dialect(
        # Without AUTOINCREMENT the number of a row that was deleted is given to the next.
        key="INTEGER PRIMARY KEY AUTOINCREMENT",
        whole="INTEGER",
        real="REAL",
        blob="BLOB",
        strict="STRICT",
        locked="",  # BEGIN IMMEDIATE lets one writer in at a time
        unclaimed="",
        alone="",
    )

    def __init__(self, file: str) -> None:
        self._file = Path(file)
        try:
            self._file.touch(mode=0o600)
            mode = stat.S_IMODE(self._file.stat().st_mode)
        except OSError as error:
            msg = f"{file} cannot be opened: {error.strerror}"
            raise DatabaseError(msg) from error
        if mode & 0o077:
            msg = f"{file} can be read by others. Run: chmod 600 {file}"
            raise DatabaseError(msg)
        try:
            self._connection = sqlite3.connect(
                file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise self._error(error) from error
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk
        except sqlite3.Error as error:
            self._connection.close()
            raise self._error(error) from error

    @contextmanager
    def transaction(self) -> Iterator[SqliteDatabase]:
        """Run statements as one transaction; see `Database`."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have ended it already
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._error(error) from error

    def run(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Run one statement; return its rows."""
        return self._connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _error(self, error: sqlite3.Error) -> DatabaseError:
        return DatabaseError(f"{self._file}: {error}")
