"""Read images and one `labels.csv`: image, findings joined by ``|``, patient, age, sex.

Source: NIH ChestX-ray14 (Wang et al., CVPR 2017). Another network's probabilities may lie beside it
in a CSV of its own, a column a label; where it is missing, the labels alone are read.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from edge.imaging.prepare import prepare_for
from tools.train.examples import DataError, Examples, alone, as_bytes, read_picture, unknown
from tools.train.plan import Plan


def read(folder: Path, plan: Plan) -> Examples:
    """Read every image of the table; each is a study of its own.

    Raises
    ------
    DataError
        If the table or an image is missing or unreadable, or the table lacks a column.
    """
    table = folder / "labels.csv"
    records = _rows(table)
    if not records:
        raise DataError(f"{table}: not found or empty. Give --data the folder that holds it.")
    wanted = {"image", "findings", "patient"}
    missing = sorted(wanted - set(records[0]))
    if missing:
        raise DataError(f"{table}: no column {missing[0]!r}.")
    teacher = _teacher(folder, plan)
    digests, images, truths, taught, ages = [], [], [], [], []
    for line, record in enumerate(records, start=2):
        digest, pixels = read_picture(folder / record["image"], f"named by {table} line {line}")
        held = {name.lower() for name in record["findings"].split("|")}
        digests.append(digest)
        images.append(as_bytes(prepare_for(plan.input, pixels)))
        truths.append([float(label.name in held) for label in plan.labels])
        taught.append(teacher.get(record["image"], [np.nan] * len(plan.labels)))
        ages.append(_number(record.get("age", "")))
    count = len(images)
    return Examples(
        digest=np.asarray(digests),
        image=np.stack(images),
        neighbour=alone(count),
        group=np.asarray([record["patient"] for record in records]),
        study=np.asarray([f"{place:06d}" for place in range(count)]),
        truth=np.asarray(truths, np.float32),
        teacher=np.asarray(taught, np.float32) if taught else unknown(count, len(plan.labels)),
        age=np.asarray(ages, np.float32),
        sex=np.asarray([record.get("sex", "") for record in records]),
    )


def _teacher(folder: Path, plan: Plan) -> dict[str, list[float]]:
    if not plan.data.teacher:
        return {}
    names = [label.name for label in plan.labels]
    return {
        row["image"]: [_number(row.get(name, "")) for name in names]
        for row in _rows(folder / plan.data.teacher)
    }


def _rows(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
