"""What intake brings to the store, made up for tests. No patient in it is or was anybody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edge.store.records import Arrival
from edge.store.studies import Store

DEVICE_KEY = bytes(range(32))
STUDY = "1.2.826.0.1.3680043.10.77.1"
NAME = "Nobody^Secret"
PSEUDONYM = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def about(body_part: str = "HEAD", modality: str = "CT") -> dict[str, object]:
    """Return what routes a series."""
    return {
        "modality": modality,
        "body_part": body_part,
        "descriptions": ["Confidential words"],
        "age_years": 60.0,
        "slice_thickness_mm": 5.0,
        "view": "",
        "acquired": "2024-05-01T10:15:30",
    }


def arrival(
    instance: int = 1, *, study: str = STUDY, series: int = 1, at: float = 100.0, **changes: object
) -> Arrival:
    """Return one slice of a head CT; `changes` are fields of `Arrival`."""
    made = Arrival(
        study_uid=study,
        series_uid=f"{study}.{series}",
        instance_uid=f"{study}.{series}.{instance}",
        pseudonym=PSEUDONYM,
        identity={
            "patient_id": "SECRET-1",
            "issuer": "Nowhere",
            "name": NAME,
            "birth_date": "19640501",
            "sex": "O",
            "accession": "ACC-SECRET",
        },
        about=about(),
        set_aside=None,
        position_mm=5.0 * instance,
        announced=None,
        acquisition=None,
        first_byte=at,
        last_byte=at + 0.5,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@contextmanager
def open_store(
    folder: Path, *, reserve_bytes: int = 0, device_key: bytes = DEVICE_KEY
) -> Iterator[Store]:
    """Open a store as the daemon does after a start."""
    store = Store(folder, device_key=device_key, reserve_bytes=reserve_bytes)
    try:
        yield store
    finally:
        store.close()
