"""The journal: one SQLite database (WAL) that knows every study, instance, result and alert.

Of a study it holds no name, no finding and no free text in clear: what a person could be known
by is sealed with the study's own key before it comes here. Written by one process, read by many.

A study is in one of four states:

    receiving ──every series complete and looked at──▶ decided
        ▲                                                 │
        └─────────────────an image arrives────────────────┘
    receiving ──the worker died on it twice──▶ quarantined ──an image arrives──▶ quarantined
    decided, quarantined ──somebody asked, or it was kept for long enough──▶ erased

* receiving: images may still come, or the last of them are with the worker. What was seen so
  far is analysed as it comes; which series are complete, and by what evidence, is in `series`.
* decided: result, alert and sequence number were written in one transaction. A study to which
  an image came in that very moment is receiving still.
* quarantined: not analysed, said so in an alert; later images are kept, not analysed.
* erased: its key is destroyed (`edge.store.erasure`). What is left is its number, and when it came.
  Images of it that are sent again make a new study.

Every step can be repeated: after a crash, studies that are receiving are read from the spool
again, from their first slice, and reach the same result.
"""

from __future__ import annotations

import sqlite3
from enum import Enum
from pathlib import Path

from edge.store.database import BUSY_TIMEOUT_S, Database, prepare, schema_version
from edge.store.schema import MIGRATIONS

_NAME = "The journal"


class StudyState(str, Enum):
    """Where a study stands; the module's docstring draws the machine."""

    RECEIVING = "receiving"
    DECIDED = "decided"
    QUARANTINED = "quarantined"
    ERASED = "erased"


class JournalError(RuntimeError):
    """The journal cannot be used; the text says why and what to do."""


class Journal(Database):
    """A connection to the journal that threads may share.

    Parameters
    ----------
    path : Path
        The database file; made when absent, unless `read_only`.
    read_only : bool
        For looking on while the daemon runs.

    Raises
    ------
    JournalError
        If the file is missing, damaged, or made by a later version of Scanside.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        if read_only and not path.exists():
            raise JournalError(
                f"{path}: there is no journal yet. It is made when `scanside run` first starts."
            )
        try:
            super().__init__(_open(path, read_only=read_only))
        except sqlite3.OperationalError as error:  # the file itself may be as good as ever
            raise JournalError(
                f"{path}: {error}. Is it of the user who runs this, and is there room on the disk?"
            ) from error
        except sqlite3.DatabaseError as error:
            raise JournalError(
                f"{path}: {error}. Restore the file from a backup, or move it away to start anew."
            ) from error


def _open(path: Path, *, read_only: bool) -> sqlite3.Connection:
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.row_factory = sqlite3.Row
        if not read_only:
            path.chmod(0o600)
            prepare(connection, MIGRATIONS, name=_NAME, error=JournalError)
            return connection
        version = schema_version(connection, MIGRATIONS, name=_NAME, error=JournalError)
        if version < len(MIGRATIONS):
            raise JournalError(
                f"{path}: made by an earlier Scanside. Start `scanside run` once: it brings the "
                "journal up to date."
            )
    except BaseException:
        connection.close()
        raise
    return connection


def set_state(write: sqlite3.Connection, study_id: int, state: StudyState, instances: int) -> None:
    """Record where a study stands, within a transaction.

    An image may have been stored while the study was being decided. It was acknowledged, so
    the study must not look done: it stays as it is when it has not just `instances` of them.
    """
    write.execute(
        "UPDATE studies SET state = ? WHERE id = ? AND state != 'erased' AND (? OR ? ="
        " (SELECT COUNT(*) FROM instances JOIN series ON series.id = series_id"
        " WHERE study_id = studies.id))",
        (state.value, study_id, state is StudyState.QUARANTINED, instances),
    )
