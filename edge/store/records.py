"""What the store holds: arrivals, instances, series, studies, and how rows are read back."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from edge.store.journal import StudyState
from edge.store.spool import Record, Spool
from edge.store.study_key import StudyKey


class Kept(Enum):
    """What became of an instance that was brought to the store."""

    NEW = "new"
    REPEATED = "repeated"  # the same UID and the same bytes: stored once
    CONFLICT = "conflict"  # the same UID with other bytes: kept beside the first, flagged


@dataclass(frozen=True, slots=True)
class Arrival:
    """An instance as intake brings it.

    Parameters
    ----------
    study_uid, series_uid, instance_uid : str
        DICOM UIDs.
    pseudonym : str
        Keyed pseudonym of the patient.
    identity, about : dict
        JSON values; both are sealed with the study's key. `identity` is the patient's, `about`
        is what routes the series to a model.
    set_aside : str or None
        Why it will not be looked at; None when it will.
    position_mm : float or None
        Along the slice normal.
    announced : int or None
        Images in the acquisition or series, as the sender said.
    acquisition : int or None
        The acquisition that `announced` speaks of; None when it speaks of the series.
    first_byte, last_byte : float
        Seconds since the epoch.
    """

    study_uid: str
    series_uid: str
    instance_uid: str
    pseudonym: str
    identity: dict[str, Any]
    about: dict[str, Any]
    set_aside: str | None
    position_mm: float | None
    announced: int | None
    acquisition: int | None
    first_byte: float
    last_byte: float


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """An instance on the disk. `deaths` are the worker's, while it was at this one."""

    id: int
    instance_uid: str
    record: Record
    conflict: bool
    set_aside: str | None
    position_mm: float | None
    announced: int | None
    acquisition: int | None
    received: float
    deaths: int = 0


@dataclass(frozen=True, slots=True)
class Deaths:
    """How often the worker died on a study.

    Parameters
    ----------
    at_the_image : int
        At the image that it was at last; 0 where it was at none.
    at_an_end : int
        At the end of a series, with no image to blame.
    altogether : int
    """

    at_the_image: int
    at_an_end: int
    altogether: int

    def __str__(self) -> str:
        image = self.at_the_image
        where = f"at one image ({image} times)" if image else f"at an end ({self.at_an_end} times)"
        return f"{where}, {self.altogether} times in all"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an instance, and where it is. `key` opens its record."""

    kept: Kept
    study_id: int
    series_id: int
    instance: StoredInstance
    key: StudyKey


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """A series and all its instances, in the order they came."""

    id: int
    series_uid: str
    about: dict[str, Any]
    evidence: str | None
    reopened: int
    committed: int  # how many instances it had when a storage commitment request named them all
    instances: tuple[StoredInstance, ...]


@dataclass(frozen=True, slots=True)
class StoredStudy:
    """A study as the journal knows it."""

    id: int
    study_uid: str
    pseudonym: str
    identity: dict[str, Any] = field(repr=False)
    key: StudyKey
    state: StudyState
    first_byte: float
    last_byte: float
    series: tuple[StoredSeries, ...]

    def one(self, series_id: int) -> StoredSeries:
        """Return one of its series."""
        return next(one for one in self.series if one.id == series_id)


def seal_json(key: StudyKey, value: dict[str, Any]) -> bytes:
    """Seal a JSON object with a study's key, for the journal."""
    return key.seal(json.dumps(value, separators=(",", ":")).encode(), b"journal")


def open_json(key: StudyKey, sealed: bytes) -> dict[str, Any]:
    """Open what `seal_json` made.

    Raises
    ------
    SealBroken
        If it was changed.
    """
    value: dict[str, Any] = json.loads(key.open(sealed, b"journal"))
    return value


def read_study(
    read: sqlite3.Connection, row: sqlite3.Row, device_key: bytes, spool: Spool
) -> StoredStudy:
    """Read a study with all its series and instances from its row.

    Raises
    ------
    SealBroken
        If it belongs to another device key.
    """
    key = StudyKey.unwrap(row["wrapped_key"], device_key)
    rows = read.execute("SELECT * FROM series WHERE study_id = ? ORDER BY id", (row["id"],))
    return StoredStudy(
        id=row["id"],
        study_uid=row["study_uid"],
        pseudonym=row["pseudonym"],
        identity=open_json(key, row["identity"]),
        key=key,
        state=StudyState(row["state"]),
        first_byte=row["first_byte"],
        last_byte=row["last_byte"],
        series=tuple(
            StoredSeries(
                id=series["id"],
                series_uid=series["series_uid"],
                about=open_json(key, series["about"]),
                evidence=series["evidence"],
                reopened=series["reopened"],
                committed=series["committed"],
                instances=_instances(read, series, spool.segment(row["token"], series["token"])),
            )
            for series in rows.fetchall()
        ),
    )


def _instances(
    read: sqlite3.Connection, series: sqlite3.Row, segment: Path
) -> tuple[StoredInstance, ...]:
    rows = read.execute("SELECT * FROM instances WHERE series_id = ? ORDER BY id", (series["id"],))
    return tuple(instance_of(row, segment, series["token"]) for row in rows.fetchall())


def instance_of(row: sqlite3.Row, segment: Path, series_token: str) -> StoredInstance:
    """Return the instance that a row tells of."""
    place = record_place(series_token, row["digest"])
    return StoredInstance(
        id=row["id"],
        instance_uid=row["instance_uid"],
        record=Record(segment, place, row["offset"], row["length"]),
        conflict=bool(row["conflict"]),
        set_aside=row["set_aside"],
        position_mm=row["position"],
        announced=row["announced"],
        acquisition=row["acquisition"],
        received=row["received"],
        deaths=row["deaths"],
    )


def record_place(series_token: str, digest: bytes) -> bytes:
    """Return what a record is bound to: its series and the digest of what it holds."""
    return f"{series_token}:{digest.hex()}".encode()
