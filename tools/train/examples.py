"""Examples to learn from and to measure on: pictures, what is known of them, and whose they are.

How a folder is laid out is known to the readers (`tools.train.folders`, `tools.train.table`,
`tools.train.head_slices`); from here on all models are alike.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class DataError(ValueError):
    """The data are not what this trainer reads; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Every picture of a folder, in an order that depends on nothing but its content.

    Parameters
    ----------
    digest : ndarray of str, shape (n,)
        Of each picture's file: by it a model knows what it was trained on.
    image : ndarray of uint8, shape (n, windows, size, size)
        As the model's input asks, 255 for 1.
    neighbour : ndarray of int64, shape (n, slices)
        Rows below, at and above each slice; edges repeat themselves. One column for single images.
    group : ndarray of str, shape (n,)
        Patients, or sets of near-duplicates: never on two sides of a split.
    study : ndarray of str, shape (n,)
        Which study a picture belongs to.
    truth : ndarray of float32, shape (n, labels)
        1 has it, 0 has it not, NaN is not known.
    teacher : ndarray of float32, shape (n, labels)
        Another network's probabilities; NaN where there are none.
    age : ndarray of float32, shape (n,)
        Years; NaN where not known.
    sex : ndarray of str, shape (n,)
        ``F``, ``M`` or empty.
    """

    digest: NDArray[np.str_]
    image: NDArray[np.uint8]
    neighbour: Rows
    group: NDArray[np.str_]
    study: NDArray[np.str_]
    truth: NDArray[np.float32]
    teacher: NDArray[np.float32]
    age: NDArray[np.float32]
    sex: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.digest)

    def tensor(self, rows: Rows) -> NDArray[np.float32]:
        """Return what the network eats, float32 (m, windows * slices, size, size), 0..1."""
        stack = self.image[self.neighbour[rows]]  # (m, slices, windows, size, size)
        ordered = np.moveaxis(stack, 2, 1)
        return ordered.reshape(len(rows), -1, *stack.shape[3:]).astype(np.float32) / np.float32(255)

    def groups(self, rows: Rows) -> list[Rows]:
        """Return, for each group among `rows`, the positions within `rows`."""
        return _positions(self.group[rows])

    def studies(self, rows: Rows) -> list[Rows]:
        """Return, for each study among `rows`, the positions within `rows`."""
        return _positions(self.study[rows])

    def grouped(self, group: NDArray[np.str_]) -> Examples:
        """Return the same examples in other groups."""
        return replace(self, group=group)


def _positions(names: NDArray[np.str_]) -> list[Rows]:
    _, inverse = np.unique(names, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    ends = np.cumsum(np.bincount(inverse))
    return [part.astype(np.int64) for part in np.split(order, ends[:-1])]


def read_picture(file: Path, named_by: str) -> tuple[str, NDArray[np.float32]]:
    """Return the digest of a picture's file, and its grey values as float32 (rows, columns).

    Raises
    ------
    DataError
        If it is missing or no image.
    """
    content = file.read_bytes() if file.is_file() else b""
    image = (
        cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE) if content else None
    )
    if image is None:
        raise DataError(f"{file}: not a readable image, {named_by}.")
    return hashlib.sha256(content).hexdigest(), np.asarray(image, np.float32)


def as_bytes(planes: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return values of 0..1 as 0..255, rounded."""
    return np.asarray(np.round(planes * 255), np.uint8)


def alone(count: int) -> Rows:
    """Return the neighbours of pictures that have none, shape (count, 1)."""
    return np.arange(count, dtype=np.int64)[:, None]


def unknown(count: int, *columns: int) -> NDArray[np.float32]:
    """Return an array in which nothing is known."""
    return np.full((count, *columns), np.nan, np.float32)


@dataclass(frozen=True, slots=True)
class Split:
    """Three sets of rows that share no group. `number`: which fold is tested, 0 for one split."""

    number: int
    train: Rows
    calibration: Rows
    test: Rows


def split(examples: Examples, *, calibration: float, test: float, seed: int) -> Split:
    """Divide the groups, keeping the share of each kind of group alike in the three sets.

    Parameters
    ----------
    examples : Examples
        All of them.
    calibration, test : float
        Shares of the groups; the others train.
    seed : int
        The same seed gives the same split of the same files.

    Raises
    ------
    DataError
        If there are so few groups that one of the sets is empty.
    """
    side: dict[str, int] = {}
    for names in _strata(examples, seed):
        cut = np.round(np.cumsum([calibration, test]) * len(names)).astype(int)
        for place, name in enumerate(names):
            side[name] = 1 if place < cut[0] else 2 if place < cut[1] else 0
    which = np.array([side[name] for name in examples.group.tolist()])
    parts = [np.flatnonzero(which == number).astype(np.int64) for number in range(3)]
    if any(len(part) == 0 for part in parts):
        raise DataError(f"{len(side)} patients are too few to train, to calibrate and to test.")
    return Split(0, *parts)


def folds(examples: Examples, *, count: int, seed: int) -> tuple[Split, ...]:
    """Divide the groups into `count` parts, each tested once by a network that saw the others.

    Raises
    ------
    DataError
        If there are fewer groups than folds.
    """
    part: dict[str, int] = {}
    # Dealt round and round over all kinds, so that the parts are of one size.
    for place, name in enumerate(name for names in _strata(examples, seed) for name in names):
        part[name] = place % count
    if len(part) < count:
        raise DataError(f"{len(part)} patients cannot be divided into {count} parts.")
    which = np.array([part[name] for name in examples.group.tolist()])
    nobody = np.zeros(0, np.int64)
    return tuple(
        Split(
            number + 1,
            np.flatnonzero(which != number).astype(np.int64),
            nobody,
            np.flatnonzero(which == number).astype(np.int64),
        )
        for number in range(count)
    )


def _strata(examples: Examples, seed: int) -> list[list[str]]:
    """Return the groups' names by what they hold, each kind in an order of chance."""
    held: dict[str, Any] = defaultdict(lambda: np.zeros(examples.truth.shape[1], bool))
    for name, truth in zip(examples.group.tolist(), examples.truth, strict=True):
        held[name] |= truth == 1
    # The commonest labels settle most of it; a kind for each of 2^14 combinations would not.
    kinds: dict[tuple[bool, ...], list[str]] = defaultdict(list)
    for name in sorted(held):
        kinds[tuple(held[name][:4].tolist())].append(name)
    rng = np.random.default_rng(seed)
    return [[kinds[kind][i] for i in rng.permutation(len(kinds[kind]))] for kind in sorted(kinds)]
