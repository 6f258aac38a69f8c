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

_NAME = "The journal"

# Each entry moves the schema one version up; entries are never edited, only added.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE studies (
        id INTEGER PRIMARY KEY,
        token TEXT NOT NULL UNIQUE,          -- random; names the study on disk
        study_uid TEXT NOT NULL UNIQUE,
        wrapped_key BLOB NOT NULL,           -- the study's key under the device key (RFC 3394)
        pseudonym TEXT NOT NULL,
        identity BLOB NOT NULL,              -- sealed
        state TEXT NOT NULL,
        deaths INTEGER NOT NULL DEFAULT 0,   -- of the worker, while on this study
        created REAL NOT NULL,
        first_byte REAL NOT NULL,
        last_byte REAL NOT NULL
    ) STRICT;
    CREATE TABLE series (
        id INTEGER PRIMARY KEY,
        study_id INTEGER NOT NULL REFERENCES studies (id),
        token TEXT NOT NULL UNIQUE,
        series_uid TEXT NOT NULL,
        about BLOB NOT NULL,                 -- sealed: what routes the series to a model
        seen_image INTEGER NOT NULL DEFAULT 0,  -- 1: `about` is of an image that is looked at
        segment_end INTEGER NOT NULL DEFAULT 0,
        evidence TEXT,                       -- what closed it; NULL while open
        reopened INTEGER NOT NULL DEFAULT 0,
        UNIQUE (study_id, series_uid)
    ) STRICT;
    CREATE TABLE instances (
        id INTEGER PRIMARY KEY,
        series_id INTEGER NOT NULL REFERENCES series (id),
        instance_uid TEXT NOT NULL,
        digest BLOB NOT NULL,                -- SHA-256 of the data set as received
        offset INTEGER NOT NULL,
        length INTEGER NOT NULL,
        conflict INTEGER NOT NULL,           -- 1: same UID as an earlier one, other bytes
        set_aside TEXT,                      -- why it is not looked at; NULL when it is
        position REAL,                       -- mm along the slice normal
        announced INTEGER,                   -- images to come, as the sender said
        acquisition INTEGER,                 -- which acquisition that speaks of; NULL: the series
        received REAL NOT NULL,
        UNIQUE (instance_uid, digest)
    ) STRICT;
    CREATE INDEX instances_of_series ON instances (series_id, id);
    CREATE TABLE results (
        id INTEGER PRIMARY KEY,
        study_id INTEGER NOT NULL REFERENCES studies (id),
        status TEXT NOT NULL,                -- provisional, final, retracted
        summary BLOB NOT NULL,               -- sealed
        decided REAL NOT NULL
    ) STRICT;
    CREATE INDEX results_of_study ON results (study_id, id);
    CREATE TABLE outbox (
        sequence INTEGER PRIMARY KEY,
        study_id INTEGER NOT NULL REFERENCES studies (id),
        alert_id TEXT NOT NULL UNIQUE,
        urgency TEXT NOT NULL,
        rank INTEGER NOT NULL,               -- 0 leaves first
        sealed BLOB NOT NULL,
        created REAL NOT NULL,
        published REAL                       -- when the broker acknowledged it
    ) STRICT;
    CREATE INDEX outbox_waiting ON outbox (rank, sequence) WHERE published IS NULL;
    """,
    """
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY,          -- from 1, no gaps
        moment TEXT NOT NULL,
        who TEXT NOT NULL,
        what TEXT NOT NULL,
        target TEXT NOT NULL,                -- numbers and thumbprints, never a patient
        outcome TEXT NOT NULL,
        digest BLOB NOT NULL                 -- SHA-256 over the digest before it and this entry
    ) STRICT;
    CREATE TABLE audit_head (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        head BLOB NOT NULL                   -- number and digest of the last entry, signed
    ) STRICT;
    CREATE TRIGGER audit_stays BEFORE UPDATE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
    CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
    """,
    """
    CREATE TABLE feedback (
        number INTEGER PRIMARY KEY,          -- from 1, no gaps
        study_id INTEGER NOT NULL REFERENCES studies (id),
        word BLOB NOT NULL,                  -- sealed with the study's key
        sealed BLOB NOT NULL,                -- the message to central
        created REAL NOT NULL,
        published REAL                       -- when the broker acknowledged it
    ) STRICT;
    CREATE INDEX feedback_of_study ON feedback (study_id, number);
    CREATE INDEX feedback_waiting ON feedback (number) WHERE published IS NULL;
    -- Counts belong to no study: so many of one kind on one day.
    CREATE TABLE verdict_counts (
        day TEXT NOT NULL,
        model TEXT NOT NULL,
        version TEXT NOT NULL,
        code TEXT NOT NULL,
        label TEXT NOT NULL,
        flagged INTEGER NOT NULL,
        verdict TEXT NOT NULL,
        number INTEGER NOT NULL,
        PRIMARY KEY (day, model, version, code, label, flagged, verdict)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE score_counts (
        day TEXT NOT NULL,
        model TEXT NOT NULL,
        version TEXT NOT NULL,
        code TEXT NOT NULL,
        label TEXT NOT NULL,
        bin INTEGER NOT NULL,
        number INTEGER NOT NULL,
        PRIMARY KEY (day, model, version, code, label, bin)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE outbox_2 (
        sequence INTEGER PRIMARY KEY,
        study_id INTEGER REFERENCES studies (id),  -- NULL: a drill, which is of no study
        alert_id TEXT NOT NULL UNIQUE,
        urgency TEXT NOT NULL,
        rank INTEGER NOT NULL,               -- 0 leaves first
        sealed BLOB NOT NULL,
        digest TEXT,                         -- of the body; NULL: made before there were receipts
        created REAL NOT NULL,
        sent INTEGER NOT NULL DEFAULT 0,     -- how often the broker acknowledged it
        published REAL,                      -- when the broker first did
        due REAL,                            -- when to send it again, unless it is settled by then
        escalated REAL,                      -- when it had waited too long for its receipts
        settled REAL,                        -- when the last receipt it needs was in
        lapsed REAL                          -- when it had lost its meaning: a drill, an hour later
    ) STRICT;
    INSERT INTO outbox_2 (sequence, study_id, alert_id, urgency, rank, sealed, created, sent,
            published, settled)
        SELECT sequence, study_id, alert_id, urgency, rank, sealed, created,
            published IS NOT NULL, published, published FROM outbox;
    DROP TABLE outbox;
    ALTER TABLE outbox_2 RENAME TO outbox;
    CREATE INDEX outbox_of_study ON outbox (study_id);
    CREATE INDEX outbox_waiting ON outbox (rank, sequence)
        WHERE published IS NULL AND lapsed IS NULL;
    CREATE INDEX outbox_due ON outbox (rank, due)
        WHERE published IS NOT NULL AND settled IS NULL AND lapsed IS NULL;
    CREATE INDEX outbox_unsettled ON outbox (created) WHERE settled IS NULL AND lapsed IS NULL;
    CREATE TABLE receipts (
        sequence INTEGER NOT NULL REFERENCES outbox (sequence),
        central TEXT NOT NULL,               -- the server that owes it, or gave it
        kid TEXT,                            -- the key that signed it
        stored TEXT,                         -- when the server had stored the alert, as it says
        status TEXT,                         -- stored or repeated
        received REAL,                       -- NULL while it is owed
        waived REAL,                         -- when the server was no longer to be waited for
        PRIMARY KEY (sequence, central)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX receipts_owed ON receipts (central, sequence)
        WHERE received IS NULL AND waived IS NULL;
    """,
    """
    CREATE TABLE heatmaps (
        id INTEGER PRIMARY KEY,
        study_id INTEGER NOT NULL REFERENCES studies (id),
        instance_id INTEGER NOT NULL REFERENCES instances (id),
        frame INTEGER NOT NULL,
        about BLOB NOT NULL,                 -- sealed: of which finding, and the map's size
        map BLOB NOT NULL                    -- sealed
    ) STRICT;
    CREATE INDEX heatmaps_of_instance ON heatmaps (instance_id, frame);
    CREATE INDEX heatmaps_of_study ON heatmaps (study_id);
    """,
    """
    CREATE TABLE certificates (
        id TEXT PRIMARY KEY,                 -- UUIDv7: sorts by time
        who TEXT NOT NULL,
        role TEXT NOT NULL,
        issued TEXT NOT NULL,
        expires TEXT NOT NULL,
        signed TEXT NOT NULL                 -- compact JWS
    ) STRICT;
    CREATE INDEX certificates_of ON certificates (who COLLATE NOCASE, role, expires);
    """,
    # AUTOINCREMENT: the number of a series or image that was erased is never another's.
    """
    CREATE TABLE series_2 (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        study_id INTEGER NOT NULL REFERENCES studies (id),
        token TEXT NOT NULL UNIQUE,
        series_uid TEXT NOT NULL,
        about BLOB NOT NULL,                 -- sealed: what routes the series to a model
        seen_image INTEGER NOT NULL DEFAULT 0,  -- 1: `about` is of an image that is looked at
        segment_end INTEGER NOT NULL DEFAULT 0,
        evidence TEXT,                       -- what closed it; NULL while open
        reopened INTEGER NOT NULL DEFAULT 0,
        UNIQUE (study_id, series_uid)
    ) STRICT;
    INSERT INTO series_2 SELECT * FROM series;
    DROP TABLE series;
    ALTER TABLE series_2 RENAME TO series;
    CREATE TABLE instances_2 (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        series_id INTEGER NOT NULL REFERENCES series (id),
        instance_uid TEXT NOT NULL,
        digest BLOB NOT NULL,                -- SHA-256 of the data set as received
        offset INTEGER NOT NULL,
        length INTEGER NOT NULL,
        conflict INTEGER NOT NULL,           -- 1: same UID as an earlier one, other bytes
        set_aside TEXT,                      -- why it is not looked at; NULL when it is
        position REAL,                       -- mm along the slice normal
        announced INTEGER,                   -- images to come, as the sender said
        acquisition INTEGER,                 -- which acquisition that speaks of; NULL: the series
        received REAL NOT NULL,
        UNIQUE (instance_uid, digest)
    ) STRICT;
    INSERT INTO instances_2 SELECT * FROM instances;
    DROP TABLE instances;
    ALTER TABLE instances_2 RENAME TO instances;
    CREATE INDEX instances_of_series ON instances (series_id, id);
    CREATE INDEX studies_here ON studies (id) WHERE state != 'erased';
    CREATE TABLE erasures (
        id INTEGER PRIMARY KEY,
        study_id INTEGER NOT NULL REFERENCES studies (id),
        who TEXT NOT NULL,
        reason TEXT NOT NULL,                -- without patient data
        undelivered INTEGER NOT NULL,        -- 1: also if central has not had all of it
        unacknowledged INTEGER NOT NULL,     -- 1: also if nobody acknowledged its flag
        asked REAL NOT NULL,
        answered REAL,
        refused TEXT,                        -- why not; NULL when it was erased
        removed REAL,                        -- when its files were gone
        compacted REAL                       -- when the journal had been written anew since
    ) STRICT;
    CREATE INDEX erasures_of_study ON erasures (study_id);
    CREATE INDEX erasures_asked ON erasures (id) WHERE answered IS NULL;
    CREATE INDEX erasures_unfinished ON erasures (id)
        WHERE answered IS NOT NULL AND refused IS NULL AND compacted IS NULL;
    """,
    """
    CREATE TABLE commitments (
        id INTEGER PRIMARY KEY,
        requester TEXT NOT NULL,             -- AE title
        transaction_uid TEXT NOT NULL,       -- emptied once settled
        named TEXT NOT NULL,                 -- JSON: class and instance UIDs; emptied once settled
        number INTEGER NOT NULL,             -- of them
        asked REAL NOT NULL,
        due REAL NOT NULL,                   -- when to try next
        tries INTEGER NOT NULL DEFAULT 0,
        reported REAL,                       -- when the requester took the answer
        given_up REAL
    ) STRICT;
    CREATE UNIQUE INDEX commitments_waiting ON commitments (requester, transaction_uid)
        WHERE reported IS NULL AND given_up IS NULL;
    -- How many instances a series had when a storage commitment request named them all.
    ALTER TABLE series ADD COLUMN committed INTEGER NOT NULL DEFAULT 0;
    """,
    """
    CREATE TABLE documents (
        id INTEGER PRIMARY KEY,
        study_id INTEGER NOT NULL REFERENCES studies (id),
        kind TEXT NOT NULL,                  -- report, key_images
        about BLOB NOT NULL,                 -- sealed: its UIDs, and what it says
        created REAL NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, -- sendings that failed, since it was last asked for
        due REAL NOT NULL,                   -- not before
        answer TEXT NOT NULL DEFAULT '',     -- what came of the last one, without patient data
        stored REAL,                         -- when the PACS had it
        refused REAL                         -- when it was given up, until somebody asks again
    ) STRICT;
    CREATE INDEX documents_of_study ON documents (study_id, id);
    CREATE INDEX documents_waiting ON documents (id) WHERE stored IS NULL AND refused IS NULL;
    """,
)


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
