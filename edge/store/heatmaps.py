"""Heatmaps: where a model saw what it flagged, kept beside the study and sealed with its key."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.store.journal import Journal
from edge.store.records import open_json, seal_json
from edge.store.study_key import StudyKey

_PLACE = b"heatmap"


@dataclass(frozen=True, slots=True, eq=False)
class KeptHeatmap:
    """A map of one finding over one image.

    Parameters
    ----------
    instance, frame : int
        The image: its id in the journal, and the frame within it.
    finding : str
        Its code, as in ``SCT:1386000``.
    values : uint8 (height, width)
        Spread over the whole image; 255 where there is most evidence.
    """

    instance: int
    frame: int
    finding: str
    values: NDArray[np.uint8]


def keep_heatmaps(
    journal: Journal, key: StudyKey, study_id: int, maps: Sequence[KeptHeatmap]
) -> None:
    """Keep maps of a study; one of the same finding over the same image is replaced."""
    if not maps:
        return
    with journal.transaction() as write:
        for one in maps:
            rows = write.execute(
                "SELECT * FROM heatmaps WHERE instance_id = ? AND frame = ?",
                (one.instance, one.frame),
            ).fetchall()
            for row in rows:
                if open_json(key, row["about"])["finding"] == one.finding:
                    write.execute("DELETE FROM heatmaps WHERE id = ?", (row["id"],))
            height, width = one.values.shape
            about = {"finding": one.finding, "height": height, "width": width}
            write.execute(
                "INSERT INTO heatmaps (study_id, instance_id, frame, about, map)"
                " VALUES (?,?,?,?,?)",
                (
                    study_id,
                    one.instance,
                    one.frame,
                    seal_json(key, about),
                    key.seal(np.ascontiguousarray(one.values).tobytes(), _PLACE),
                ),
            )


def heatmaps(
    journal: Journal,
    device_key: bytes,
    study_id: int,
    *,
    instance: int | None = None,
    finding: str | None = None,
) -> tuple[KeptHeatmap, ...]:
    """Return the maps of a study, in the order they were made.

    Parameters
    ----------
    journal : Journal
    device_key : bytes
        32 bytes; unwraps the study's key.
    study_id : int
    instance : int, optional
        Only over this image, by its id in the journal.
    finding : str, optional
        Only of this one, by its code, as in ``SCT:1386000``.

    Raises
    ------
    SealBroken
        If the study belongs to another device key, or a map was changed.
    """
    with journal.reading() as read:
        rows = read.execute(
            "SELECT heatmaps.*, studies.wrapped_key FROM heatmaps"
            " JOIN studies ON studies.id = study_id"
            " WHERE study_id = ? AND (instance_id = ? OR ? IS NULL) ORDER BY heatmaps.id",
            (study_id, instance, instance),
        ).fetchall()
    maps = (_open(row, StudyKey.unwrap(row["wrapped_key"], device_key)) for row in rows)
    return tuple(one for one in maps if finding in (None, one.finding))


def _open(row: sqlite3.Row, key: StudyKey) -> KeptHeatmap:
    about = open_json(key, row["about"])
    flat = np.frombuffer(key.open(row["map"], _PLACE), np.uint8)
    values = flat.reshape(about["height"], about["width"])
    return KeptHeatmap(row["instance_id"], row["frame"], about["finding"], values)
