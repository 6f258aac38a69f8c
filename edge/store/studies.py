"""The store: takes instances in, durably, and keeps where each study stands."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.store.claim import Claim
from edge.store.erased_series import fingerprint
from edge.store.erasure import Erased, Hindrance, Order, erase
from edge.store.journal import StudyState, set_state
from edge.store.key_check import open_journal
from edge.store.priors import KeptPrior, read_priors
from edge.store.records import (
    Arrival,
    Deaths,
    Kept,
    Receipt,
    StoredStudy,
    instance_of,
    open_json,
    read_study,
    record_place,
    seal_json,
)
from edge.store.spool import OutOfSpace, Record, Spool
from edge.store.study_key import OVERHEAD_BYTES, StudyKey

_KNOWN_SERIES = 256


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
    SealBroken
        If the studies that are there are of another key.
    """

    def __init__(self, folder: Path, *, device_key: bytes, reserve_bytes: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._claim = Claim(folder)
        try:
            self.journal = open_journal(folder / "journal.db", device_key)
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
            before, series = series, self._series(arrival)  # it may have been forgotten since
            if series.token != before.token:  # the study was erased: this begins a new one
                place = record_place(series.token, digest)
                sealed = series.key.seal(data, place)
            path = self._spool.segment(series.study_token, series.token)
            with self.journal.reading() as read:
                twins = read.execute(
                    "SELECT * FROM instances WHERE instance_uid = ?", (arrival.instance_uid,)
                ).fetchall()
            same = next((twin for twin in twins if twin["digest"] == digest), None)
            if same is not None:
                stored = instance_of(same, path, series.token)
                return Receipt(Kept.REPEATED, series.study_id, series.id, stored, series.key)
            record = Record(path, place, series.end, len(sealed))
            self._spool.append(record, sealed)
            row = self._enter(arrival, series, record, digest, conflict=bool(twins))
            series.end += record.length
        kept = Kept.CONFLICT if twins else Kept.NEW
        stored = instance_of(row, path, series.token)
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

    def series_closed(self, series_id: int, evidence: str, instances: int) -> None:
        """Record what evidence closed a series, if it still has just so many instances."""
        with self.journal.transaction() as write:
            write.execute(
                "UPDATE series SET evidence = ? WHERE id = ?"
                " AND ? = (SELECT COUNT(*) FROM instances WHERE series_id = series.id)",
                (evidence, series_id, instances),
            )

    def study_state(self, study_id: int, state: StudyState, instances: int) -> None:
        """Record where a study stands, as `edge.store.journal.set_state` does."""
        with self.journal.transaction() as write:
            set_state(write, study_id, state, instances)

    def worker_died(self, study_id: int, instance_id: int | None) -> Deaths:
        """Count a death of the worker on a study, at an image or at none."""
        with self.journal.transaction() as write:
            write.execute("UPDATE studies SET deaths = deaths + 1 WHERE id = ?", (study_id,))
            write.execute("UPDATE instances SET deaths = deaths + 1 WHERE id = ?", (instance_id,))
            row = write.execute(
                "SELECT studies.deaths AS altogether, TOTAL(instances.deaths) AS at_images,"
                " TOTAL(CASE instances.id WHEN ? THEN instances.deaths END) AS at_the_image"
                " FROM studies LEFT JOIN series ON study_id = studies.id"
                " LEFT JOIN instances ON series_id = series.id WHERE studies.id = ?",
                (instance_id, study_id),
            ).fetchone()
        altogether = row["altogether"]
        return Deaths(int(row["at_the_image"]), altogether - int(row["at_images"]), altogether)

    def fingerprint(self, series_uid: str) -> bytes:
        """Return what stands for the UID of a series once it is erased."""
        return fingerprint(self._device_key, series_uid)

    def erase(
        self, order: Order, note: Callable[[Erased], None], *, pressing: bool
    ) -> Erased | Hindrance:
        """Erase a study but for its files: `remove_files` takes them away.

        Parameters
        ----------
        order : Order
        note : callable
            Is given what is done, within its transaction.
        pressing : bool
            Whether the study has a flag that nobody acknowledged.
        """
        with self._lock:  # no image of it is being stored meanwhile
            with self.journal.transaction() as write:
                done = erase(write, order, self.fingerprint, pressing=pressing)
                if isinstance(done, Erased):
                    note(done)
            if isinstance(done, Erased):
                for name, series in list(self._known.items()):
                    if series.study_id == order.study_id:
                        del self._known[name]
        return done

    def remove_files(self, token: str) -> None:
        """Take away the files of an erased study, as far as there are any; raises `OSError`."""
        with self._lock:
            self._spool.remove(token)

    def study(self, study_id: int) -> StoredStudy:
        """Read a study with all its series and instances.

        Raises
        ------
        LookupError
            If there is no such study, or it was erased.
        """
        with self.journal.reading() as read:
            row = read.execute(
                "SELECT * FROM studies WHERE id = ? AND state != 'erased'", (study_id,)
            ).fetchone()
            if row is None:
                raise LookupError(f"There is no study {study_id}, or it was erased.")
            return read_study(read, row, self._device_key, self._spool)

    def copies(self, instance_uid: str) -> tuple[tuple[Record, StudyKey], ...]:
        """Return where an instance is kept and what opens it: once, or more often in conflict."""
        with self.journal.reading() as read:
            rows = read.execute(
                "SELECT instances.*, series.token AS series, studies.token AS study, wrapped_key"
                " FROM instances JOIN series ON series.id = series_id"
                " JOIN studies ON studies.id = study_id WHERE instance_uid = ?",
                (instance_uid,),
            ).fetchall()
        return tuple(
            (
                instance_of(
                    row, self._spool.segment(row["study"], row["series"]), row["series"]
                ).record,
                StudyKey.unwrap(row["wrapped_key"], self._device_key),
            )
            for row in rows
        )

    def unfinished(self) -> tuple[int, ...]:
        """Return the ids of studies that were receiving, oldest first.

        One without any image is left out: the power went before its first was on the disk.
        """
        with self.journal.reading() as read:
            rows = read.execute(
                "SELECT id FROM studies WHERE state = ? AND EXISTS (SELECT 1 FROM series"
                " JOIN instances ON series_id = series.id WHERE study_id = studies.id) ORDER BY id",
                (StudyState.RECEIVING.value,),
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

    def priors(self, study_id: int) -> tuple[KeptPrior, ...]:
        """Return the other studies of a study's patient that something was said of."""
        return read_priors(self.journal, self._device_key, study_id)

    def others(self, study_id: int) -> tuple[StoredStudy, ...]:
        """Return the other studies of a study's patient, in the order they came.

        None for a study that does not say whose it is: what is nobody's is not compared.
        """
        with self.journal.reading() as read:
            rows = read.execute(
                "SELECT * FROM studies WHERE id != ? AND state != 'erased' AND pseudonym ="
                " (SELECT pseudonym FROM studies WHERE id = ?) ORDER BY id",
                (study_id, study_id),
            ).fetchall()
            found = [read_study(read, row, self._device_key, self._spool) for row in rows]
        return tuple(one for one in found if one.identity.get("patient_id"))

    def close(self) -> None:
        """Close the spool and the journal."""
        with self._lock:
            self._spool.close()
            self.journal.close()
            self._claim.close()
