"""Studies, series and instances: taking them in, and reading them back after a restart."""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from edge.store.claim import Claim
from edge.store.journal import Journal, StudyState
from edge.store.spool import OutOfSpace, Record, Spool
from edge.store.study_key import OVERHEAD_BYTES, StudyKey

_KNOWN_SERIES = 256


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
    """An instance on the disk."""

    id: int
    instance_uid: str
    record: Record
    conflict: bool
    set_aside: str | None
    position_mm: float | None
    announced: int | None
    acquisition: int | None
    received: float


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
    deaths: int
    first_byte: float
    last_byte: float
    series: tuple[StoredSeries, ...]


@dataclass(slots=True)
class _Series:
    """What appending to a series needs; remembered so that a slice costs one transaction."""

    id: int
    study_id: int
    study_token: str
    token: str
    key: StudyKey
    end: int
    seen_image: bool


class Store:
    """The only writer of studies.

    Parameters
    ----------
    folder : Path
        ``[storage] folder``.
    device_key : bytes
        32 bytes; wraps the study keys.
    reserve_bytes : int
        Free disk that images never use.

    Raises
    ------
    FolderTaken
        If another process has this folder.
    JournalError
        If the journal cannot be used.
    """

    def __init__(self, folder: Path, *, device_key: bytes, reserve_bytes: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._claim = Claim(folder)
        try:
            self.journal = Journal(folder / "journal.db")
        except BaseException:
            self._claim.close()
            raise
        self._spool = Spool(folder / "spool", reserve_bytes=reserve_bytes)
        self._device_key = device_key
        self._lock = threading.Lock()  # guards the spool's offsets and the series known here
        self._known: OrderedDict[tuple[str, str], _Series] = OrderedDict()

    def room_for(self, length: int) -> bool:
        """Return whether an instance of `length` bytes leaves the disk's reserve untouched."""
        return self._spool.room_for(length + OVERHEAD_BYTES)

    def keep(self, arrival: Arrival, data: bytes) -> Receipt:
        """Store an instance durably: encrypted, on the disk and in the journal.

        Parameters
        ----------
        arrival : Arrival
            What intake read of it.
        data : bytes
            DICOM Part 10.

        Returns
        -------
        Receipt
            What became of it, and where it is.

        Raises
        ------
        OutOfSpace
            If the disk has no room; nothing was kept.
        """
        if not self.room_for(len(data)):
            raise OutOfSpace("Less free disk than [storage] reserve_mb.")
        try:
            return self._keep(arrival, data)
        except sqlite3.OperationalError as error:
            raise OutOfSpace(f"The journal cannot be written: {error}.") from error

    def _keep(self, arrival: Arrival, data: bytes) -> Receipt:
        digest = hashlib.sha256(data).digest()
        with self._lock:
            series = self._series(arrival)
        place = record_place(series.token, digest)
        sealed = series.key.seal(data, place)  # outside the lock: senders encrypt side by side
        with self._lock:
            series = self._series(arrival)  # others may have been known since, and this forgotten
            path = self._spool.segment(series.study_token, series.token)
            with self.journal.reading() as read:
                twins = read.execute(
                    "SELECT * FROM instances WHERE instance_uid = ?", (arrival.instance_uid,)
                ).fetchall()
            same = next((twin for twin in twins if twin["digest"] == digest), None)
            if same is not None:
                stored = _instance(same, path, series.token)
                return Receipt(Kept.REPEATED, series.study_id, series.id, stored, series.key)
            record = Record(path, place, series.end, len(sealed))
            self._spool.append(record, sealed)
            row = self._enter(arrival, series, record, digest, conflict=bool(twins))
            series.end += record.length
        kept = Kept.CONFLICT if twins else Kept.NEW
        stored = _instance(row, path, series.token)
        return Receipt(kept, series.study_id, series.id, stored, series.key)

    def _enter(
        self, arrival: Arrival, series: _Series, record: Record, digest: bytes, *, conflict: bool
    ) -> sqlite3.Row:
        """Write the instance into the journal; a study that was done is receiving again."""
        with self.journal.transaction() as write:
            row: sqlite3.Row = write.execute(
                "INSERT INTO instances (series_id, instance_uid, digest, offset, length,"
                " conflict, set_aside, position, announced, acquisition, received)"
                " VALUES (?,?,?,?,?,?,?,?,?,?,?) RETURNING *",
                (
                    series.id,
                    arrival.instance_uid,
                    digest,
                    record.offset,
                    record.length,
                    conflict,
                    arrival.set_aside,
                    arrival.position_mm,
                    arrival.announced,
                    arrival.acquisition,
                    arrival.last_byte,
                ),
            ).fetchone()
            if arrival.set_aside is None and not series.seen_image:
                # A localizer that came first must not decide which model looks.
                write.execute(
                    "UPDATE series SET about = ?, seen_image = 1 WHERE id = ?",
                    (seal_json(series.key, arrival.about), series.id),
                )
            write.execute(
                "UPDATE series SET segment_end = ?, reopened = reopened + (evidence IS NOT NULL),"
                " evidence = NULL WHERE id = ?",
                (record.offset + record.length, series.id),
            )
            write.execute(
                "UPDATE studies SET last_byte = ?, state = CASE state WHEN ? THEN state ELSE ? END"
                " WHERE id = ?",
                (
                    arrival.last_byte,
                    StudyState.QUARANTINED.value,
                    StudyState.RECEIVING.value,
                    series.study_id,
                ),
            )
        series.seen_image |= arrival.set_aside is None
        return row

    def _series(self, arrival: Arrival) -> _Series:
        """Find or make the study and series of an instance."""
        name = (arrival.study_uid, arrival.series_uid)
        if name in self._known:
            self._known.move_to_end(name)
            return self._known[name]
        with self.journal.transaction() as write:
            study = write.execute(
                "SELECT id, token, wrapped_key FROM studies WHERE study_uid = ?",
                (arrival.study_uid,),
            ).fetchone()
            if study is None:
                study = self._new_study(write, arrival)
            key = StudyKey.unwrap(study["wrapped_key"], self._device_key)
            row = write.execute(
                "SELECT id, token, segment_end, seen_image FROM series"
                " WHERE study_id = ? AND series_uid = ?",
                (study["id"], arrival.series_uid),
            ).fetchone()
            if row is None:
                token = secrets.token_hex(16)
                row = write.execute(
                    "INSERT INTO series (study_id, token, series_uid, about) VALUES (?,?,?,?)"
                    " RETURNING id, token, segment_end, seen_image",
                    (study["id"], token, arrival.series_uid, seal_json(key, arrival.about)),
                ).fetchone()
        series = _Series(
            row["id"],
            study["id"],
            study["token"],
            row["token"],
            key,
            row["segment_end"],
            bool(row["seen_image"]),
        )
        self._known[name] = series
        if len(self._known) > _KNOWN_SERIES:
            self._known.popitem(last=False)
        return series

    def _new_study(self, write: sqlite3.Connection, arrival: Arrival) -> sqlite3.Row:
        key = StudyKey.new()
        row: sqlite3.Row = write.execute(
            "INSERT INTO studies (token, study_uid, wrapped_key, pseudonym, identity, state,"
            " created, first_byte, last_byte) VALUES (?,?,?,?,?,?,?,?,?)"
            " RETURNING id, token, wrapped_key",
            (
                secrets.token_hex(16),
                arrival.study_uid,
                key.wrapped(self._device_key),
                arrival.pseudonym,
                seal_json(key, arrival.identity),
                StudyState.RECEIVING.value,
                arrival.last_byte,
                arrival.first_byte,
                arrival.last_byte,
            ),
        ).fetchone()
        return row

    def series_closed(self, series_id: int, evidence: str) -> None:
        """Record what evidence closed a series."""
        with self.journal.transaction() as write:
            write.execute("UPDATE series SET evidence = ? WHERE id = ?", (evidence, series_id))

    def study_state(self, study_id: int, state: StudyState) -> None:
        """Record where a study stands."""
        with self.journal.transaction() as write:
            write.execute("UPDATE studies SET state = ? WHERE id = ?", (state.value, study_id))

    def worker_died(self, study_id: int) -> int:
        """Count a death of the worker on a study; return how many there were."""
        with self.journal.transaction() as write:
            row = write.execute(
                "UPDATE studies SET deaths = deaths + 1 WHERE id = ? RETURNING deaths", (study_id,)
            ).fetchone()
        return int(row["deaths"])

    def study(self, study_id: int) -> StoredStudy:
        """Read a study with all its series and instances."""
        with self.journal.reading() as read:
            row = read.execute("SELECT * FROM studies WHERE id = ?", (study_id,)).fetchone()
            return _study(read, row, self._device_key, self._spool)

    def unfinished(self) -> tuple[int, ...]:
        """Return the ids of studies that were receiving or closed, oldest first.

        One without any image is left out: the power went before its first was on the disk.
        """
        with self.journal.reading() as read:
            rows = read.execute(
                "SELECT id FROM studies WHERE state IN (?, ?) AND EXISTS (SELECT 1 FROM series"
                " JOIN instances ON series_id = series.id WHERE study_id = studies.id) ORDER BY id",
                (StudyState.RECEIVING.value, StudyState.CLOSED.value),
            ).fetchall()
        return tuple(row["id"] for row in rows)

    def last_result(self, study: StoredStudy) -> dict[str, Any] | None:
        """Return the summary of what was last decided of a study, or None."""
        with self.journal.reading() as read:
            row = read.execute(
                "SELECT summary FROM results WHERE study_id = ? ORDER BY id DESC LIMIT 1",
                (study.id,),
            ).fetchone()
        return open_json(study.key, row["summary"]) if row is not None else None

    def close(self) -> None:
        """Close the spool and the journal."""
        with self._lock:
            self._spool.close()
            self.journal.close()
            self._claim.close()


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


def _study(
    read: sqlite3.Connection, row: sqlite3.Row, device_key: bytes, spool: Spool
) -> StoredStudy:
    key = StudyKey.unwrap(row["wrapped_key"], device_key)
    rows = read.execute("SELECT * FROM series WHERE study_id = ? ORDER BY id", (row["id"],))
    return StoredStudy(
        id=row["id"],
        study_uid=row["study_uid"],
        pseudonym=row["pseudonym"],
        identity=open_json(key, row["identity"]),
        key=key,
        state=StudyState(row["state"]),
        deaths=row["deaths"],
        first_byte=row["first_byte"],
        last_byte=row["last_byte"],
        series=tuple(
            StoredSeries(
                id=series["id"],
                series_uid=series["series_uid"],
                about=open_json(key, series["about"]),
                evidence=series["evidence"],
                reopened=series["reopened"],
                instances=_instances(read, series, spool.segment(row["token"], series["token"])),
            )
            for series in rows.fetchall()
        ),
    )


def _instances(
    read: sqlite3.Connection, series: sqlite3.Row, segment: Path
) -> tuple[StoredInstance, ...]:
    rows = read.execute("SELECT * FROM instances WHERE series_id = ? ORDER BY id", (series["id"],))
    return tuple(_instance(row, segment, series["token"]) for row in rows.fetchall())


def _instance(row: sqlite3.Row, segment: Path, series_token: str) -> StoredInstance:
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
    )


def record_place(series_token: str, digest: bytes) -> bytes:
    """Return what a record is bound to: its series and the digest of what it holds."""
    return f"{series_token}:{digest.hex()}".encode()
