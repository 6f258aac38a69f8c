"""The tables of a central server, and how an older database becomes a newer one.

====================== ===================================================================
alerts                 every authentic alert, once
counts                 how far each device has counted, and what is missing in between
lineages               which keys followed each other: a device counts on with a new key
devices                what each device last said of itself, and when it was last heard
receipts               answers that the broker has not yet taken
hand_ons               who else waits to be told of which alert
events                 what central itself has to say: silence, missed drills, gaps
feedback               physicians' words on findings, each once
====================== ===================================================================

It holds what the seal protected. Who may read the database reads alerts.
"""

from __future__ import annotations

from dataclasses import asdict

from tools.central.database.dialect import Database, DatabaseError

# Each entry moves the schema one version up; entries are never edited, only added.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE counts (
            lineage TEXT NOT NULL,           -- the first signing key of a chain of keys
            run {whole} NOT NULL,            -- 0; one more when it counts from the beginning again
            after TEXT NOT NULL,             -- made later than this: of this run
            latest TEXT NOT NULL,            -- when the latest of it was made
            lowest {whole} NOT NULL,
            highest {whole} NOT NULL,
            held {whole} NOT NULL,           -- so many between them have come
            gap_since TEXT,                  -- since when some are missing; NULL: none are
            site TEXT NOT NULL,
            device TEXT NOT NULL,
            PRIMARY KEY (lineage, run)
        ) {strict}""",
        """CREATE TABLE lineages (
            kid TEXT PRIMARY KEY,            -- a key that followed another
            lineage TEXT NOT NULL            -- the first of the chain
        ) {strict}""",
        """CREATE TABLE alerts (
            id {key},
            lineage TEXT NOT NULL,
            run {whole} NOT NULL,
            sequence {whole} NOT NULL,
            kid TEXT NOT NULL,
            site TEXT NOT NULL,
            device TEXT NOT NULL,
            alert_id TEXT NOT NULL,
            digest TEXT NOT NULL,            -- of the signed body
            created TEXT NOT NULL,
            stored TEXT NOT NULL,
            urgency TEXT NOT NULL,
            problem TEXT NOT NULL,
            body TEXT NOT NULL,              -- as it was signed
            UNIQUE (lineage, run, sequence)
        ) {strict}""",
        "CREATE INDEX alerts_of_device ON alerts (site, device, id)",
        "CREATE INDEX alerts_by_number ON alerts (lineage, sequence)",
        """CREATE TABLE devices (
            site TEXT NOT NULL,
            device TEXT NOT NULL,
            online {whole},                  -- as it said, or the broker in its name; NULL: nothing
            since TEXT NOT NULL,
            backlog {whole},
            heard TEXT NOT NULL,             -- when anything of it last came
            last_alert TEXT,
            last_drill TEXT,
            PRIMARY KEY (site, device)
        ) {strict}""",
        """CREATE TABLE receipts (
            id {key},
            owner TEXT NOT NULL,             -- the process that is to send it
            site TEXT NOT NULL,
            device TEXT NOT NULL,
            kid TEXT NOT NULL,               -- of the key that signed the alert
            sequence {whole} NOT NULL,
            alert_id TEXT NOT NULL,
            digest TEXT NOT NULL,
            stored TEXT NOT NULL,
            status TEXT NOT NULL,
            made {real} NOT NULL
        ) {strict}""",
        """CREATE TABLE hand_ons (
            id {key},
            target TEXT NOT NULL,            -- lines, webhook, fhir
            alert {whole} REFERENCES alerts (id),
            event {whole},                   -- one of the two
            attempts {whole} NOT NULL,
            due {real} NOT NULL,
            holder TEXT NOT NULL DEFAULT '', -- the process that has it in hand until then
            first {real} NOT NULL,
            trouble TEXT NOT NULL            -- why it was not taken; set aside: due is infinite
        ) {strict}""",
        "CREATE INDEX hand_ons_due ON hand_ons (target, due)",
        """CREATE TABLE events (
            id {key},
            moment TEXT NOT NULL,
            kind TEXT NOT NULL,
            site TEXT NOT NULL,
            device TEXT NOT NULL,
            said TEXT NOT NULL,
            ended TEXT                       -- when it was over; NULL while it lasts
        ) {strict}""",
        "CREATE UNIQUE INDEX events_open ON events (kind, site, device) WHERE ended IS NULL",
    ),
    (
        """CREATE TABLE feedback (
            id {key},
            kid TEXT NOT NULL,               -- of the key that signed it
            sequence {whole} NOT NULL,       -- of the device's feedback
            created TEXT NOT NULL,
            site TEXT NOT NULL,
            device TEXT NOT NULL,
            stored TEXT NOT NULL,
            alert_id TEXT NOT NULL,          -- the alert that told of the finding
            verdict TEXT NOT NULL,
            body TEXT NOT NULL,              -- JSON, as it was signed
            UNIQUE (kid, sequence, created)
        ) {strict}""",
        "CREATE INDEX feedback_of_alert ON feedback (alert_id)",
    ),
)


def migrate(database: Database) -> None:
    """Bring the schema up to date, in one transaction; who starts at the same time waits.

    Raises
    ------
    DatabaseError
        When it was made by a later version.
    """
    types = asdict(database.dialect)
    with database.transaction() as write:
        if database.dialect.alone:
            write.run(database.dialect.alone)
        write.run("CREATE TABLE IF NOT EXISTS scanside_schema (version INTEGER PRIMARY KEY)")
        ((version,),) = write.run("SELECT COALESCE(MAX(version), 0) FROM scanside_schema")
        for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
            for statement in statements:
                write.run(statement.format(**types))
            write.run("INSERT INTO scanside_schema VALUES (?)", (number,))
    if version > len(MIGRATIONS):
        msg = f"The database has schema {version}; this version knows {len(MIGRATIONS)}. "
        msg += "Install the version that wrote it, or a later one."
        raise DatabaseError(msg)
