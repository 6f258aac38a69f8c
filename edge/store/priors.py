"""The other studies of a patient, as far as something was said of them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from edge.store.journal import Journal
from edge.store.records import open_json
from edge.store.study_key import StudyKey


@dataclass(frozen=True, slots=True)
class KeptPrior:
    """What is known of another study of the patient.

    Parameters
    ----------
    study_uid : str
    acquired : str
        When it was made, ISO 8601, as the scanner said; empty where it did not.
    first_byte : float
        When it came, seconds since the epoch.
    told : dict
        What was last said of it; see `edge.alerts.policy.Told`.
    """

    study_uid: str
    acquired: str
    first_byte: float
    told: dict[str, Any]


def read_priors(journal: Journal, device_key: bytes, study_id: int) -> tuple[KeptPrior, ...]:
    """Return the other studies with the same pseudonym, in the order they came.

    Raises
    ------
    SealBroken
        If they belong to another device key.
    """
    with journal.reading() as read:
        rows = read.execute(
            "SELECT studies.*, (SELECT summary FROM results WHERE study_id = studies.id"
            " ORDER BY id DESC LIMIT 1) AS summary FROM studies"
            " WHERE pseudonym = (SELECT pseudonym FROM studies WHERE id = ?) AND id != ?"
            " AND state != 'erased'"
            " ORDER BY id",
            (study_id, study_id),
        ).fetchall()
        return tuple(_open(read, row, device_key) for row in rows if row["summary"] is not None)


def _open(read: sqlite3.Connection, row: sqlite3.Row, device_key: bytes) -> KeptPrior:
    key = StudyKey.unwrap(row["wrapped_key"], device_key)
    series = read.execute("SELECT about FROM series WHERE study_id = ?", (row["id"],)).fetchall()
    moments = [open_json(key, one["about"]).get("acquired") or "" for one in series]
    return KeptPrior(
        study_uid=row["study_uid"],
        acquired=min((one for one in moments if one), default=""),
        first_byte=row["first_byte"],
        told=open_json(key, row["summary"]),
    )
