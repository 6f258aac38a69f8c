"""Read head CT slices: a folder a patient (`PPP/SS-brain.jpg`, `SS-bone.jpg`) and `slices.csv`.

The JPEGs are two windows of one slice, as 8-bit: brain (level 40, width 120 HU) and bone (level
700, width 3200 HU); measured on the images, brain tissue of 35 HU is grey 74.5 of 255 in the
latter, as these values say. Hounsfield units come back from the brain window where it is not at an
end, and from the bone window beyond. Slice numbers run from the neck upwards; some are missing, and
then the nearest slice that exists is the neighbour, as for a series with a gap in the product.
Source: Hssayeni et al., Data 5(1):14, 2020.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.imaging.prepare import prepare_for
from tools.train.examples import DataError, Examples, Rows, as_bytes, read_picture, unknown
from tools.train.plan import Plan

KINDS = ("intraventricular", "intraparenchymal", "subarachnoid", "epidural", "subdural")
_BRAIN, _BONE = (40.0, 120.0), (700.0, 3200.0)


def read(folder: Path, plan: Plan) -> Examples:
    """Read every slice; a patient is a study.

    The label ``hemorrhage`` is any of the five kinds; every other label is a column of the table.

    Raises
    ------
    DataError
        If the table or an image is missing or unreadable, a label is no column, or a row
        contradicts itself.
    """
    table = folder / "slices.csv"
    if not table.is_file():
        raise DataError(f"{table}: not found. Give --data the folder that holds slices.csv.")
    with table.open(newline="", encoding="utf-8") as stream:
        numbered = enumerate(csv.DictReader(stream), start=2)
        records = sorted((int(r["patient"]), int(r["slice"]), line, r) for line, r in numbered)
    digests, images, patients, truths = [], [], [], []
    for patient, number, line, record in records:
        where = f"named by {table} line {line}"
        bleeding = any(record[kind] == "1" for kind in KINDS)
        if bleeding == (record["no_hemorrhage"] == "1"):
            raise DataError(f"{table} line {line}: no_hemorrhage contradicts the hemorrhage kinds.")
        stem = folder / f"{patient:03d}" / f"{number:02d}"
        digest, brain = read_picture(stem.with_name(f"{stem.name}-brain.jpg"), where)
        bone = stem.with_name(f"{stem.name}-bone.jpg")
        hu = hounsfield(brain, read_picture(bone, where)[1] if bone.is_file() else None)
        images.append(as_bytes(prepare_for(plan.input, hu)))
        digests.append(digest)
        patients.append(f"{patient:03d}")
        truths.append([_truth(record, label.name, bleeding, where) for label in plan.labels])
    names = np.asarray(patients)
    count = len(names)
    return Examples(
        digest=np.asarray(digests),
        image=np.stack(images),
        neighbour=neighbours(names, plan.input.neighbours),
        group=names,
        study=names,
        truth=np.asarray(truths, np.float32),
        teacher=unknown(count, len(plan.labels)),
        age=unknown(count),
        sex=np.full(count, ""),
    )


def hounsfield(brain: NDArray[np.float32], bone: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Return HU from the grey values (0..255) of the two windows; of one where bone is None."""
    level, width = _BRAIN
    hu = level - width / 2 + brain * np.float32(width / 255)
    if bone is None:
        # Beyond the one window nothing is known but the side.
        return np.where(brain <= 1, np.float32(-1000), np.where(brain >= 254, np.float32(1000), hu))
    level, width = _BONE
    wide = level - width / 2 + bone * np.float32(width / 255)
    return np.where((brain > 3) & (brain < 252), hu, wide).astype(np.float32)


def _truth(record: dict[str, str], name: str, bleeding: bool, where: str) -> float:
    if name == "hemorrhage":
        return float(bleeding)
    if name not in record:
        raise DataError(f"{where.removeprefix('named by ')}: no column {name!r}.")
    return float(record[name] == "1")


def neighbours(patient: NDArray[np.str_], reach: int) -> Rows:
    """Return the rows below, at and above each row of sorted slices, shape (n, 2 * reach + 1).

    A neighbour never belongs to another patient: the first and last slice repeat themselves.
    """
    here = np.arange(len(patient))
    _, first, inverse, counts = np.unique(
        patient, return_index=True, return_inverse=True, return_counts=True
    )
    low, high = first[inverse], (first + counts - 1)[inverse]
    columns = [np.clip(here + step, low, high) for step in range(-reach, reach + 1)]
    return np.stack(columns, axis=1).astype(np.int64)
