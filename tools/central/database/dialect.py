"""What the rooms above may ask of a database, whichever it is.

Statements are written once, in the SQL that SQLite and PostgreSQL share, with ``?`` for each
value. Where the two differ, a `Dialect` says how.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

Row = Sequence[Any]


class DatabaseError(RuntimeError):
    """The database cannot be used now. The text names it and says what to do."""


class RetryError(DatabaseError):
    """The transaction gave way to another one; the same again will do."""


@dataclass(frozen=True)
class Dialect:
    """How one database says what the other says differently.

    Parameters
    ----------
    key, whole, real, blob : str
        Types of a column: a number that the database counts itself, a 64-bit integer, a double,
        bytes.
    strict : str
        After a table: values of another type are refused.
    locked : str
        After a SELECT: others wait for these rows until the transaction ends.
    unclaimed : str
        After a SELECT: rows that another process holds are passed over.
    alone : str
        A statement after which no other process is in a transaction that began with it, too; empty
        where that is so anyway.
    """

    key: str
    whole: str
    real: str
    blob: str
    strict: str
    locked: str
    unclaimed: str
    alone: str


class Statements(Protocol):
    """Runs statements within a transaction."""

    def run(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Run one statement; return its rows, none if it has none."""


class Database(Protocol):
    """A connection. One thread at a time may use it; each thread opens its own."""

    dialect: Dialect

    def transaction(self) -> AbstractContextManager[Statements]:
        """Run statements as one transaction: all of them are durable after it, or none.

        A connection that was lost is made anew by the next transaction.

        Raises
        ------
        DatabaseError
            When the database cannot do it now; nothing of the transaction has then happened.
        """

    def close(self) -> None:
        """Let go of it."""


def insert(
    write: Statements,
    table: str,
    columns: Sequence[str],
    rows: Sequence[Row],
    then: str = "",
) -> list[Row]:
    """Insert many rows with one statement; `then` follows it (ON CONFLICT, RETURNING)."""
    one = f"({','.join('?' * len(columns))})"
    values = [value for row in rows for value in row]
    sql = f"INSERT INTO {table} ({','.join(columns)}) VALUES {','.join([one] * len(rows))} {then}"  # noqa: S608 - names are ours
    return write.run(sql, values)


def marks(values: Sequence[object]) -> str:
    """Return as many ``?`` as there are values, for IN."""
    return ",".join("?" * len(values))
