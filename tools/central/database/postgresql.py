"""PostgreSQL, through pg8000: for a site whose alerts several processes receive.

pg8000 is written in Python alone, so that it runs wherever Python does.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import pg8000.dbapi
from pg8000.exceptions import InterfaceError

from edge.trust import trusting
from tools.central.database.dialect import DatabaseError, Dialect, RetryError, Row

_TIMEOUT_S = 30.0
# Two processes wanted the same rows, and one was asked to begin again (SQLSTATE).
_AGAIN = ("40001", "40P01")


class PostgresDatabase:
    """A connection to a server.

    Parameters
    ----------
    place : str
        ``postgresql://USER@HOST:PORT/NAME``.
    password : str or None
    ca : str or None
        File with the authority of the server's certificate; None: no TLS, for a server on this
        machine.

    Raises
    ------
    DatabaseError
        When the server cannot be reached or refuses us.
    """

    dialect = Dialect(
        key="BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        whole="BIGINT",
        real="DOUBLE PRECISION",
        blob="BYTEA",
        strict="",
        locked="FOR UPDATE",
        unclaimed="FOR UPDATE SKIP LOCKED",
        alone="SELECT pg_advisory_xact_lock(7271626)",  # any number, the same for all of us
    )

    def __init__(self, place: str, *, password: str | None = None, ca: str | None = None) -> None:
        parts = urlsplit(place)
        self._place = f"{parts.hostname}:{parts.port or 5432}{parts.path}"
        self._arguments: dict[str, Any] = {
            "user": unquote(parts.username or ""),
            "host": parts.hostname or "localhost",
            "port": parts.port or 5432,
            "database": unquote(parts.path.lstrip("/")),
            "password": password,
            "timeout": _TIMEOUT_S,
            "application_name": "scanside-central",
            "ssl_context": _tls(ca) if ca else None,
        }
        self._connection: Any = None
        self._cursor: Any = None
        self._connect()

    @contextmanager
    def transaction(self) -> Iterator[PostgresDatabase]:
        """Run statements as one transaction; see `Database`."""
        if self._connection is None:
            self._connect()
        try:
            yield self  # pg8000 begins a transaction with the first statement
            self._connection.commit()
        except (pg8000.dbapi.Error, InterfaceError, OSError) as error:
            said = _fields(error)
            if said.get("V", "FATAL") in {"FATAL", "PANIC"}:  # or nothing: the connection is gone
                self.close()
            else:
                self._give_up()
            raise self._error(error) from error
        except BaseException:
            self._give_up()
            raise

    def run(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Run one statement; return its rows."""
        # Our statements have no text in them, so that each ``?`` is a value (DB-API "format").
        self._cursor.execute(sql.replace("?", "%s"), values)
        return list(self._cursor.fetchall()) if self._cursor.description else []

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except (pg8000.dbapi.Error, InterfaceError, OSError):
                return  # it was gone already

    def _connect(self) -> None:
        try:
            self._connection = pg8000.dbapi.connect(**self._arguments)
        except (pg8000.dbapi.Error, InterfaceError, OSError) as error:
            raise self._error(error) from error
        self._cursor = self._connection.cursor()

    def _give_up(self) -> None:
        """Undo the transaction; a connection that cannot do that is let go of."""
        try:
            self._connection.rollback()
        except (pg8000.dbapi.Error, InterfaceError, OSError):
            self.close()

    def _error(self, error: Exception) -> DatabaseError:
        said = _fields(error)
        if said:
            kind = RetryError if said.get("C") in _AGAIN else DatabaseError
            return kind(f"{self._place}: {said.get('M', 'refused')}")
        return DatabaseError(f"{self._place}: {error or type(error).__name__}")


def _fields(error: Exception) -> dict[str, str]:
    """Return what the server said, by the letters of its protocol; nothing if it said nothing."""
    said = error.args[0] if error.args else None
    return said if isinstance(said, dict) else {}


def _tls(ca: str) -> ssl.SSLContext:
    try:
        return trusting(ca)
    except OSError as error:
        msg = f"{ca} cannot be read as the authority of the database"
        raise DatabaseError(msg) from error
