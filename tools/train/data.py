"""Head CT slices as arrays, and the split by patient.

The folder holds one sub-folder a patient (`PPP/SS-brain.jpg`) and one `slices.csv`. The JPEGs are
the brain window (level 40, width 120 HU) as 8-bit. Slice numbers run from the neck upwards; some
are missing, and then the nearest slice that exists is the neighbour, as it is for a series with a
gap in the product. Source: Hssayeni et al., Data 5(1):14, 2020.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

KINDS = ("intraventricular", "intraparenchymal", "subarachnoid", "epidural", "subdural")


class DataError(ValueError):
    """The training data are not what this trainer reads; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Slices:
    """Every slice of every patient, in patient order and from the neck upwards.

    Parameters
    ----------
    patient : ndarray of str, shape (n,)
        Whose slice it is.
    image : ndarray of float32, shape (n, size, size)
        The brain window, 0..1.
    bleeding : ndarray of bool, shape (n,)
        Whether any hemorrhage is in the slice.
    kinds : ndarray of bool, shape (n, 5)
        Which hemorrhage, in the order of `KINDS`.
    neighbour : ndarray of int64, shape (n, 3)
        Rows below, at and above each slice; edges repeat themselves.
    """

    patient: NDArray[np.str_]
    image: NDArray[np.float32]
    bleeding: NDArray[np.bool_]
    kinds: NDArray[np.bool_]
    neighbour: NDArray[np.int64]

    def rows(self, patients: tuple[str, ...]) -> NDArray[np.int64]:
        """Return the rows of these patients, shape (m,)."""
        return np.flatnonzero(np.isin(self.patient, patients))

    def tensor(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what the network eats for these rows, float32 (m, 3, size, size)."""
        return self.image[self.neighbour[rows]]

    def studies(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Return, for each patient among `rows`, the positions within `rows`."""
        names = self.patient[rows]
        return {str(name): np.flatnonzero(names == name) for name in np.unique(names)}


@dataclass(frozen=True, slots=True)
class Split:
    """Three sets of patients that share nobody."""

    train: tuple[str, ...]
    calibration: tuple[str, ...]
    test: tuple[str, ...]


def read(folder: Path, *, size: int) -> Slices:
    """Read the whole folder, resized with area averaging to `size` x `size`.

    Raises
    ------
    DataError
        If the table or an image is missing or unreadable, or a label contradicts itself.
    """
    table = folder / "slices.csv"
    if not table.is_file():
        raise DataError(f"{table}: not found. Give --data the folder that holds slices.csv.")
    with table.open(newline="", encoding="utf-8") as stream:
        numbered = enumerate(csv.DictReader(stream), start=2)
        records = sorted((int(r["patient"]), int(r["slice"]), line, r) for line, r in numbered)
    images, patients, kinds = [], [], []
    for patient, number, line, record in records:
        flags = [record[kind] == "1" for kind in KINDS]
        if any(flags) == (record["no_hemorrhage"] == "1"):
            raise DataError(f"{table} line {line}: no_hemorrhage contradicts the hemorrhage kinds.")
        file = folder / f"{patient:03d}" / f"{number:02d}-brain.jpg"
        image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise DataError(f"{file}: not a readable image, named by {table} line {line}.")
        scaled = np.asarray(image, np.float32) / 255.0
        images.append(cv2.resize(scaled, (size, size), interpolation=cv2.INTER_AREA))
        patients.append(f"{patient:03d}")
        kinds.append(flags)
    flagged = np.asarray(kinds, np.bool_)
    names = np.asarray(patients)
    bleeding = np.asarray(flagged.any(axis=1), np.bool_)
    return Slices(names, np.stack(images), bleeding, flagged, neighbours(names))


def neighbours(patient: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return the rows below, at and above each row of sorted slices, shape (n, 3).

    A neighbour never belongs to another patient: the first and last slice repeat themselves.
    """
    here = np.arange(len(patient))
    below = np.maximum(here - 1, 0)
    above = np.minimum(here + 1, len(patient) - 1)
    below = np.where(patient[below] == patient, below, here)
    above = np.where(patient[above] == patient, above, here)
    return np.stack([below, here, above], axis=1).astype(np.int64)


def split(slices: Slices, *, calibration: int, test: int, seed: int) -> Split:
    """Divide the patients, keeping the share of bleeding patients alike in the three sets.

    Parameters
    ----------
    slices : Slices
        All slices.
    calibration, test : int
        How many patients go there; the others train.
    seed : int
        The same seed gives the same split.
    """
    groups: dict[bool, list[str]] = defaultdict(list)
    for name in sorted(set(slices.patient.tolist())):
        groups[bool(slices.bleeding[slices.patient == name].any())].append(name)
    total = sum(len(names) for names in groups.values())
    if calibration + test >= total:
        raise DataError(f"{total} patients cannot give {calibration} to calibrate, {test} to test.")
    rng = np.random.default_rng(seed)
    positive = [groups[True][i] for i in rng.permutation(len(groups[True]))]
    negative = [groups[False][i] for i in rng.permutation(len(groups[False]))]
    share = len(positive) / total
    parts: list[tuple[str, ...]] = []
    for count in (calibration, test):
        ill = round(count * share)
        parts.append(tuple(sorted(positive[:ill] + negative[: count - ill])))
        positive, negative = positive[ill:], negative[count - ill :]
    return Split(tuple(sorted(positive + negative)), parts[0], parts[1])
