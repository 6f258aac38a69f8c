"""Read a folder with a sub-folder for each class: `normal/*.jpg`, `bacteria/*.jpg` and so on."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from edge.imaging.prepare import prepare_for
from tools.train.examples import DataError, Examples, alone, as_bytes, read_picture, unknown
from tools.train.plan import Label, Plan

_SUFFIXES = {".jpg", ".jpeg", ".png"}


def read(folder: Path, plan: Plan) -> Examples:
    """Read every picture; each is a study of its own.

    Raises
    ------
    DataError
        If a class's folder is missing, all are empty, a picture is unreadable, or a file's name
        does not say whose it is.
    """
    classes = sorted({name for label in plan.labels for name in (*label.folders, *label.against)})
    places = (
        sorted(place for place in folder.iterdir() if place.is_dir()) if folder.is_dir() else []
    )
    missing = set(classes) - {place.name for place in places}
    if missing:
        raise DataError(
            f"{folder}: no folder {min(missing)!r}. Give --data the folder that holds "
            f"{', '.join(classes)}, as {plan.file.name} names them."
        )
    digests, images, groups, truths = [], [], [], []
    for place in places:
        truth = [_truth(label, place.name) for label in plan.labels]
        for file in _pictures(place):
            digest, pixels = read_picture(file, f"found in {place}")
            digests.append(digest)
            images.append(as_bytes(prepare_for(plan.input, pixels)))
            groups.append(_whose(plan.data.patient, file))
            truths.append(truth)
    if not images:
        raise DataError(f"{folder}: its folders hold no .jpg or .png files.")
    count = len(images)
    return Examples(
        digest=np.asarray(digests),
        image=np.stack(images),
        neighbour=alone(count),
        group=np.asarray(groups),
        study=np.asarray([f"{number:06d}" for number in range(count)]),
        truth=np.asarray(truths, np.float32),
        teacher=unknown(count, len(plan.labels)),
        age=unknown(count),
        sex=np.full(count, ""),
    )


def _pictures(place: Path) -> list[Path]:
    return sorted(file for file in place.iterdir() if file.suffix.lower() in _SUFFIXES)


def _truth(label: Label, name: str) -> float:
    if name in label.folders:
        return 1.0
    return 0.0 if not label.against or name in label.against else float("nan")


def _whose(pattern: str, file: Path) -> str:
    """Return the patient that a file's name names; without a pattern each file is its own."""
    if not pattern:
        return file.stem
    found = re.search(pattern, file.stem)
    if found is None:
        raise DataError(
            f"{file}: its name does not say whose it is ([data] patient = {pattern!r})."
        )
    return next(part for part in found.groups() if part)
