"""Looking on: what the journal says, for people. Reads only; may run beside the daemon."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from edge.store.journal import Journal, StudyState
from edge.store.key_check import check_key
from edge.store.records import open_json
from edge.store.study_key import SealBroken, StudyKey


@dataclass(frozen=True, slots=True)
class ErasureLine:
    """That a study was erased: when (seconds since the epoch), by whom and why."""

    at: float
    who: str
    reason: str


@dataclass(frozen=True, slots=True)
class StudyLine:
    """One study in a list. Times are seconds since the epoch.

    `told` is what was last said of it (see `edge.alerts.policy.Told`), None before that and of one
    that was erased or is damaged on the disk.
    """

    id: int
    pseudonym: str
    state: str
    first_byte: float
    last_byte: float
    series: int
    instances: int
    told: dict[str, Any] | None
    alerts: int
    unpublished: int
    erased: ErasureLine | None = None
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class SeriesLine:
    """One series of a study. `evidence` is what closed it, None while it is open."""

    about: dict[str, Any]
    evidence: str | None
    reopened: int
    instances: int
    set_aside: int
    conflicts: int


@dataclass(frozen=True, slots=True)
class AlertLine:
    """One alert in a list. Times are seconds since the epoch.

    Parameters
    ----------
    study_id : int or None
        None: a drill, which is of no study.
    published : float or None
        When the broker first acknowledged it.
    settled : float or None
        When the last receipt it needs was in.
    escalated, lapsed : float or None
        When it had waited too long for its receipts; when a drill was given up.
    sent : int
        How often the broker has acknowledged it.
    owed_by, receipts_of : tuple of str
        The servers that still owe a receipt, and those that gave one.
    """

    sequence: int
    study_id: int | None
    urgency: str
    created: float
    published: float | None
    settled: float | None
    escalated: float | None
    lapsed: float | None
    sent: int
    size: int
    owed_by: tuple[str, ...]
    receipts_of: tuple[str, ...]

    @property
    def delivery(self) -> str:
        """Where it stands: waiting, published, settled, escalated or lapsed."""
        if self.settled is not None:
            return "settled"
        if self.lapsed is not None:
            return "lapsed"
        if self.escalated is not None:
            return "escalated"
        return "waiting" if self.published is None else "published"


@dataclass(frozen=True, slots=True)
class ReceiptLine:
    """A receipt of one server. `stored` is by the server's clock, `received` by ours."""

    central: str
    stored: str
    status: str
    received: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """The way of one alert. Times are seconds since the epoch; None: not yet."""

    sequence: int
    urgency: str
    created: float
    published: float | None
    settled: float | None
    receipts: tuple[ReceiptLine, ...]
    owed_by: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return asdict(self)


_STUDIES = """
    SELECT studies.*,
        (SELECT COUNT(*) FROM series WHERE study_id = studies.id) AS series,
        (SELECT COUNT(*) FROM instances JOIN series ON series.id = series_id
            WHERE study_id = studies.id) AS instances,
        (SELECT summary FROM results WHERE study_id = studies.id ORDER BY id DESC LIMIT 1)
            AS summary,
        (SELECT COUNT(*) FROM outbox WHERE study_id = studies.id) AS alerts,
        (SELECT COUNT(*) FROM outbox WHERE study_id = studies.id AND published IS NULL
            AND lapsed IS NULL) AS unpublished,
        erasures.answered AS erased_at, erasures.who AS erased_by, erasures.reason AS erased_why
    FROM studies LEFT JOIN erasures
        ON erasures.study_id = studies.id AND answered IS NOT NULL AND refused IS NULL
"""


_OTHERS = (
    "state != 'erased' AND studies.id != ?"
    " AND pseudonym = (SELECT pseudonym FROM studies WHERE id = ?)"
)


_ALERTS = """
    SELECT *, LENGTH(sealed) AS size,
        (SELECT json_group_array(central) FROM receipts WHERE receipts.sequence = outbox.sequence
            AND received IS NULL AND waived IS NULL) AS owed_by,
        (SELECT json_group_array(central) FROM receipts WHERE receipts.sequence = outbox.sequence
            AND received IS NOT NULL) AS receipts_of
    FROM outbox
"""


def list_studies(journal: Journal, device_key: bytes, limit: int) -> list[StudyLine]:
    """Return the latest studies, newest first; damaged ones among them.

    Raises
    ------
    SealBroken
        If the journal belongs to another device key.
    """
    with journal.reading() as read:
        rows = read.execute(f"{_STUDIES} ORDER BY studies.id DESC LIMIT ?", (limit,)).fetchall()
    return [_study_or_damage(journal, row, device_key) for row in rows]


def _study_or_damage(journal: Journal, row: sqlite3.Row, device_key: bytes) -> StudyLine:
    try:
        return _study(row, device_key)
    except SealBroken:
        check_key(journal, device_key)
        return _line(row, damaged=True)


def find_study(journal: Journal, device_key: bytes, study_id: int) -> StudyLine | None:
    """Return one study, or None when there is none with that number."""
    with journal.reading() as read:
        row = read.execute(f"{_STUDIES} WHERE studies.id = ?", (study_id,)).fetchone()
    return None if row is None else _study(row, device_key)


def find_identity(journal: Journal, device_key: bytes, study_id: int) -> dict[str, Any]:
    """Return who the patient of a study is, as the scanner said; nothing when it is not here."""
    with journal.reading() as read:
        row = read.execute(
            "SELECT wrapped_key, identity FROM studies WHERE id = ? AND state != 'erased'",
            (study_id,),
        ).fetchone()
    if row is None:
        return {}
    return open_json(StudyKey.unwrap(row["wrapped_key"], device_key), row["identity"])


def study_key(journal: Journal, device_key: bytes, study_id: int) -> StudyKey | None:
    """Return the key of a study; None when it is not here, or was erased.

    Raises
    ------
    SealBroken
        If the journal belongs to another device key.
    """
    with journal.reading() as read:
        row = read.execute(
            "SELECT wrapped_key FROM studies WHERE id = ? AND state != 'erased'", (study_id,)
        ).fetchone()
    return None if row is None else StudyKey.unwrap(row["wrapped_key"], device_key)


def list_priors(journal: Journal, device_key: bytes, study_id: int, limit: int) -> list[StudyLine]:
    """Return the latest other studies of a study's patient, newest first."""
    with journal.reading() as read:
        rows = read.execute(
            f"{_STUDIES} WHERE {_OTHERS} ORDER BY first_byte DESC LIMIT ?",
            (study_id, study_id, limit),
        ).fetchall()
    return [_study(row, device_key) for row in rows]


def list_series(journal: Journal, device_key: bytes, study_id: int) -> list[SeriesLine]:
    """Return the series of a study, in the order they came."""
    with journal.reading() as read:
        rows = read.execute(
            "SELECT series.*, studies.wrapped_key, COUNT(instances.id) AS instances,"
            " COUNT(instances.set_aside) AS set_aside, TOTAL(instances.conflict) AS conflicts"
            " FROM series JOIN studies ON studies.id = study_id"
            " LEFT JOIN instances ON series_id = series.id"
            " WHERE study_id = ? GROUP BY series.id ORDER BY series.id",
            (study_id,),
        ).fetchall()
    return [
        SeriesLine(
            about=open_json(StudyKey.unwrap(row["wrapped_key"], device_key), row["about"]),
            evidence=row["evidence"],
            reopened=row["reopened"],
            instances=row["instances"],
            set_aside=row["set_aside"],
            conflicts=int(row["conflicts"]),
        )
        for row in rows
    ]


def list_alerts(journal: Journal, limit: int, study_id: int | None = None) -> list[AlertLine]:
    """Return the latest alerts, newest first; of one study, if `study_id` is given."""
    return _alert_lines(
        journal,
        "study_id = ? OR ? IS NULL ORDER BY sequence DESC LIMIT ?",
        (study_id, study_id, limit),
    )


def find_alerts(journal: Journal, sequences: Iterable[int]) -> list[AlertLine]:
    """Return the alerts with these numbers, as far as there are any."""
    wanted = json.dumps(list(sequences))
    return _alert_lines(journal, "sequence IN (SELECT value FROM json_each(?))", (wanted,))


def _alert_lines(journal: Journal, which: str, values: tuple[object, ...]) -> list[AlertLine]:
    with journal.reading() as read:
        rows = read.execute(f"{_ALERTS} WHERE {which}", values).fetchall()
    return [
        AlertLine(
            sequence=row["sequence"],
            study_id=row["study_id"],
            urgency=row["urgency"],
            created=row["created"],
            published=row["published"],
            settled=row["settled"],
            escalated=row["escalated"],
            lapsed=row["lapsed"],
            sent=row["sent"],
            size=row["size"],
            owed_by=tuple(json.loads(row["owed_by"])),
            receipts_of=tuple(json.loads(row["receipts_of"])),
        )
        for row in rows
    ]


def delivery_of(journal: Journal, sequence: int) -> Delivery | None:
    """Return the way of one alert so far, or None when there is none with that number."""
    with journal.reading() as read:
        alert = read.execute("SELECT * FROM outbox WHERE sequence = ?", (sequence,)).fetchone()
        rows = read.execute(
            "SELECT * FROM receipts WHERE sequence = ? ORDER BY received, central", (sequence,)
        ).fetchall()
    if alert is None:
        return None
    came = [row for row in rows if row["received"] is not None]
    owed = [row for row in rows if row["received"] is None and row["waived"] is None]
    return Delivery(
        sequence,
        alert["urgency"],
        alert["created"],
        alert["published"],
        alert["settled"],
        tuple(
            ReceiptLine(row["central"], row["stored"], row["status"], row["received"])
            for row in came
        ),
        tuple(row["central"] for row in owed),
    )


def sealed_alert(journal: Journal, sequence: int) -> bytes | None:
    """Return a sealed alert as it was or will be sent, or None when it is not here, or erased."""
    with journal.reading() as read:
        row = read.execute(
            "SELECT sealed FROM outbox WHERE sequence = ? AND sealed != x''", (sequence,)
        ).fetchone()
    return None if row is None else bytes(row["sealed"])


def sealed_alerts(journal: Journal) -> Iterator[bytes]:
    """Yield every sealed alert that was not erased, in the order of their numbers."""
    sequence = 0
    while True:
        with journal.reading() as read:
            row = read.execute(
                "SELECT sequence, sealed FROM outbox WHERE sequence > ? AND sealed != x''"
                " ORDER BY sequence LIMIT 1",
                (sequence,),
            ).fetchone()
        if row is None:
            return
        sequence = row["sequence"]
        yield bytes(row["sealed"])


def count_studies(journal: Journal) -> dict[str, int]:
    """Return how many studies are in each state; every state is there."""
    with journal.reading() as read:
        rows = read.execute("SELECT state, COUNT(*) FROM studies GROUP BY state").fetchall()
    return {**{state.value: 0 for state in StudyState}, **dict(map(tuple, rows))}


def _study(row: sqlite3.Row, device_key: bytes) -> StudyLine:
    told = erased = None
    if row["erased_at"] is not None:
        erased = ErasureLine(row["erased_at"], row["erased_by"], row["erased_why"])
    else:
        key = StudyKey.unwrap(row["wrapped_key"], device_key)
        told = None if row["summary"] is None else open_json(key, row["summary"])
    return _line(row, told=told, erased=erased)


def _line(
    row: sqlite3.Row,
    *,
    told: dict[str, Any] | None = None,
    erased: ErasureLine | None = None,
    damaged: bool = False,
) -> StudyLine:
    return StudyLine(
        id=row["id"],
        pseudonym=row["pseudonym"],
        state=row["state"],
        first_byte=row["first_byte"],
        last_byte=row["last_byte"],
        series=row["series"],
        instances=row["instances"],
        told=told,
        alerts=row["alerts"],
        unpublished=row["unpublished"],
        erased=erased,
        damaged=damaged,
    )


def studies_of(journal: Journal, pseudonym: str) -> list[int]:
    """Return the studies of a patient that are not erased, by number, in the order they came."""
    with journal.reading() as read:
        rows = read.execute(
            "SELECT id FROM studies WHERE pseudonym = ? AND state != 'erased' ORDER BY id",
            (pseudonym,),
        ).fetchall()
    return [row["id"] for row in rows]
