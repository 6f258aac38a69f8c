"""Performed procedure steps: what scanners say they do, and which images came of it.

Of a step there is its state and which images its series have, by their UIDs, and nothing of a
patient. Sources: DICOM PS3.4 F.7 (the service), PS3.3 C.4.14 (performed series).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from edge.store.erased_series import Fingerprint, forget, names_one
from edge.store.journal import Journal, StudyState

_KEPT_S = 30 * 86_400.0
MOST_STEPS = 5_000  # of one station, in that time


class TooManySteps(RuntimeError):
    """A station has begun more steps than are kept of one."""


class StepState(str, Enum):
    """Performed Procedure Step Status (0040,0252)."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"


@dataclass(frozen=True, slots=True)
class Change:
    """What a scanner sets of a step; None leaves what stands.

    Parameters
    ----------
    state : StepState or None
    wrong_entry : bool
        Whether it was discontinued because the wrong worklist entry was selected.
    series : mapping or None
        The images' UIDs, by the series'.
    """

    state: StepState | None = None
    wrong_entry: bool = False
    series: Mapping[str, Sequence[str]] | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of a change.

    Parameters
    ----------
    before : StepState or None
        None: there is no such step.
    series : tuple of str
        The UIDs of the series that the step now names; none where nothing was changed.
    reopened : tuple of int
        Studies that were decided, and must be told of anew.
    """

    before: StepState | None
    series: tuple[str, ...] = ()
    reopened: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Performance:
    """What all steps that name a series say of it together.

    Parameters
    ----------
    ended : bool
        Whether each of them has ended.
    discontinued, wrong_entry : bool
        Whether one of them was discontinued, and because of the wrong worklist entry.
    instances : frozenset of str
        The images that they list.
    """

    ended: bool
    discontinued: bool
    wrong_entry: bool
    instances: frozenset[str]


class Steps:
    """The steps' side of the journal; threads may share it.

    A step that names a series of an erased study is of that study: what it names is kept only as
    far as it is of a study that is here, and its own UID is not kept.

    Parameters
    ----------
    journal : Journal
    fingerprint : callable
        `Store.fingerprint`.
    """

    def __init__(self, journal: Journal, fingerprint: Fingerprint) -> None:
        self._journal = journal
        self._fingerprint = fingerprint

    def begin(
        self, uid: str, station: str, series: Mapping[str, Sequence[str]], now: float
    ) -> bool:
        """Keep a step that has begun; return False if it is known already.

        Parameters
        ----------
        uid : str
            The step's SOP Instance UID.
        station : str
            The AE title that says so.
        series : mapping
            The images' UIDs, by the series', as far as there are any yet.
        now : float
            Seconds since the epoch.

        Raises
        ------
        TooManySteps
            If so many of the station's are kept that this one is not.
        """
        with self._journal.transaction() as write:
            write.execute(
                "DELETE FROM performed_series WHERE step_id IN"
                " (SELECT id FROM procedure_steps WHERE begun < ?)",
                (now - _KEPT_S,),
            )
            write.execute("DELETE FROM procedure_steps WHERE begun < ?", (now - _KEPT_S,))
            forget(write, now - _KEPT_S)
            row = write.execute(
                "INSERT INTO procedure_steps (uid, station, state, begun) VALUES (?,?,?,?)"
                " ON CONFLICT (uid) DO NOTHING RETURNING id",
                (uid, station, StepState.IN_PROGRESS.value, now),
            ).fetchone()
            if row is None:
                return False
            (number,) = write.execute(
                "SELECT COUNT(*) FROM procedure_steps WHERE station = ?", (station,)
            ).fetchone()
            if number > MOST_STEPS:
                raise TooManySteps(f"{MOST_STEPS} steps of this station are kept already")
            self._name(write, row["id"], series)
        return True

    def change(self, uid: str, change: Change, now: float) -> Changed:
        """Change a step that is in progress; one that has ended stays as it is.

        One that turns out to be of erased studies alone is a step that is not known.
        """
        with self._journal.transaction() as write:
            row = write.execute(
                "SELECT id, state FROM procedure_steps WHERE uid = ?", (uid,)
            ).fetchone()
            if row is None:
                return Changed(None)
            before = StepState(row["state"])
            if before is not StepState.IN_PROGRESS:
                return Changed(before)
            if change.series is not None:
                write.execute("DELETE FROM performed_series WHERE step_id = ?", (row["id"],))
                if not self._name(write, row["id"], change.series):
                    return Changed(None)
            state = change.state or before
            write.execute(
                "UPDATE procedure_steps SET state = ?, wrong_entry = ?, ended = ? WHERE id = ?",
                (
                    state.value,
                    change.wrong_entry,
                    None if state is StepState.IN_PROGRESS else now,
                    row["id"],
                ),
            )
            named = write.execute(
                "SELECT series_uid FROM performed_series WHERE step_id = ?", (row["id"],)
            ).fetchall()
            reopened = []
            if state is StepState.DISCONTINUED:
                reopened = write.execute(
                    "UPDATE studies SET state = ? WHERE state = ? AND id IN (SELECT study_id"
                    " FROM series JOIN performed_series USING (series_uid) WHERE step_id = ?)"
                    " RETURNING id",
                    (StudyState.RECEIVING.value, StudyState.DECIDED.value, row["id"]),
                ).fetchall()
        return Changed(
            before,
            tuple(one["series_uid"] for one in named),
            tuple(one["id"] for one in reopened),
        )

    def _name(
        self, write: sqlite3.Connection, step: int, series: Mapping[str, Sequence[str]]
    ) -> bool:
        """Keep what a step names; return whether it is of any study that was not erased."""
        if not names_one(write, series, self._fingerprint):
            write.executemany(_NAME_SERIES, _rows(step, series))
            return True
        here = {uid: images for uid, images in series.items() if _is_here(write, uid)}
        write.executemany(_NAME_SERIES, _rows(step, here))
        write.execute("UPDATE procedure_steps SET uid = 'erased:' || id WHERE id = ?", (step,))
        return bool(here)

    def of_series(self, series_uid: str) -> Performance | None:
        """Return what is said of a series, or None if no step names it."""
        with self._journal.reading() as read:
            rows = read.execute(
                "SELECT state, wrong_entry, instances FROM performed_series"
                " JOIN procedure_steps ON procedure_steps.id = step_id WHERE series_uid = ?",
                (series_uid,),
            ).fetchall()
        if not rows:
            return None
        states = {StepState(row["state"]) for row in rows}
        return Performance(
            ended=StepState.IN_PROGRESS not in states,
            discontinued=StepState.DISCONTINUED in states,
            wrong_entry=any(row["wrong_entry"] for row in rows),
            instances=frozenset(uid for row in rows for uid in json.loads(row["instances"])),
        )


_NAME_SERIES = "INSERT INTO performed_series (step_id, series_uid, instances) VALUES (?,?,?)"


def _is_here(read: sqlite3.Connection, series_uid: str) -> bool:
    found = read.execute("SELECT 1 FROM series WHERE series_uid = ?", (series_uid,)).fetchone()
    return found is not None


def _rows(step: int, series: Mapping[str, Sequence[str]]) -> list[tuple[int, str, str]]:
    return [(step, uid, json.dumps(list(images))) for uid, images in series.items()]
