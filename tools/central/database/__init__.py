"""The database behind a central server: SQLite in a file, or PostgreSQL for several processes."""

from __future__ import annotations

from tools.central.database.dialect import Database, DatabaseError, Statements
from tools.central.database.schema import migrate
from tools.central.database.sqlite import SqliteDatabase

__all__ = ["Database", "DatabaseError", "Statements", "open_database"]


def open_database(place: str, *, password: str | None = None, ca: str | None = None) -> Database:
    """Open a database and bring its schema up to date.

    Parameters
    ----------
    place : str
        A file, or ``postgresql://USER@HOST:PORT/NAME``.
    password : str or None
        PostgreSQL's.
    ca : str or None
        File with the authority of PostgreSQL's certificate; turns TLS on.

    Raises
    ------
    DatabaseError
        When it cannot be opened, or was made by a later version.
    """
    database: Database
    if place.startswith("postgresql://"):
        from tools.central.database.postgresql import (  # noqa: PLC0415 - an extra: `central`
            PostgresDatabase,
        )

        database = PostgresDatabase(place, password=password, ca=ca)
    else:
        database = SqliteDatabase(place)
    try:
        migrate(database)
    except BaseException:
        database.close()
        raise
    return database
