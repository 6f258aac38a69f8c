"""The journal's schema, as it grew; `edge.store.journal` says what it is for."""

from __future__ import annotations

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
    """
    CREATE TABLE procedure_steps (
        id INTEGER PRIMARY KEY,
        uid TEXT NOT NULL UNIQUE,            -- the step's SOP Instance UID
        station TEXT NOT NULL,               -- AE title
        state TEXT NOT NULL,                 -- as DICOM (0040,0252) has it
        wrong_entry INTEGER NOT NULL DEFAULT 0,  -- 1: discontinued for the wrong worklist entry
        begun REAL NOT NULL,
        ended REAL
    ) STRICT;
    CREATE TABLE performed_series (
        step_id INTEGER NOT NULL REFERENCES procedure_steps (id),
        series_uid TEXT NOT NULL,
        instances TEXT NOT NULL,             -- JSON: the UIDs of its images
        PRIMARY KEY (step_id, series_uid)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX performed_series_uid ON performed_series (series_uid);
    """,
    """
    -- When the PACS first had it; stays when it is sent again.
    ALTER TABLE documents ADD COLUMN had REAL;
    UPDATE documents SET had = stored;
    """,
    """
    CREATE TABLE erased_series (
        digest BLOB PRIMARY KEY,             -- keyed, of the series' UID
        erased REAL NOT NULL                 -- forgotten with the steps of that time
    ) STRICT, WITHOUT ROWID;
    """,
    """
    -- Of the worker, while it was at this instance.
    ALTER TABLE instances ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
    """,
    """
    CREATE TABLE device_key (
        wrapped_key BLOB NOT NULL            -- of no study: it opens with the device key alone
    ) STRICT;
    """,
)
