"""Ask a shipped model about examples, with ONNX Runtime alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines import Engine, ModelPackage, load_engine
from tools.train.examples import Examples, Rows

TRAINED_ON = "trained-on.npy"
OUT_OF_FOLD = "out-of-fold.npz"
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Answers:
    """Logits (m, findings) and distances (m,; 0 of a model that cannot tell) of some pictures."""

    logits: NDArray[np.float64]
    distance: NDArray[np.float64]


def ask(package: ModelPackage, batches: Iterable[NDArray[np.float32]], *, threads: int) -> Answers:
    """Run the package's model on batches of prepared pictures, each (k, channels, h, w)."""
    engine = load_engine(package, threads=threads)
    answers = ask_loaded(engine, package, batches)
    engine.close()
    return answers


def ask_loaded(
    engine: Engine, package: ModelPackage, batches: Iterable[NDArray[np.float32]]
) -> Answers:
    """Run the package's engine, which the caller loaded and closes, as `ask` does."""
    logits: list[NDArray[np.float64]] = []
    distances: list[NDArray[np.float64]] = []
    for batch in batches:
        found = engine.infer({package.input.tensor: batch})
        logits.append(found[package.output.tensor].astype(np.float64))
        if package.familiar is None:
            distances.append(np.zeros(len(batch)))
        else:
            distances.append(found[package.familiar.output][:, 0].astype(np.float64))
    return Answers(np.concatenate(logits), np.concatenate(distances))


def batches(examples: Examples, rows: Rows) -> Iterable[NDArray[np.float32]]:
    """Yield the prepared pictures of these rows."""
    for start in range(0, len(rows), _BATCH):
        yield examples.tensor(rows[start : start + _BATCH])


def marks(digests: NDArray[np.str_]) -> NDArray[np.uint64]:
    """Return what is kept of the digests of files: their first 64 bits, sorted."""
    return np.unique(_marks(digests))


def unseen(package: ModelPackage, examples: Examples) -> Rows:
    """Return the rows that neither trained nor calibrated the package, by its own record.

    Parameters
    ----------
    package : ModelPackage
        With `trained-on.npy` in its folder; without it nothing is known to have been seen.
    examples : Examples
        All of a folder.
    """
    record = package.path / TRAINED_ON
    if not record.is_file():
        return np.arange(len(examples), dtype=np.int64)
    seen = np.load(record, allow_pickle=False)
    return np.flatnonzero(~np.isin(_marks(examples.digest), seen)).astype(np.int64)


def keep_out_of_fold(package: Path, digests: NDArray[np.str_], logits: NDArray[np.float64]) -> None:
    """Keep what networks said of pictures that they had not seen, for anyone to measure again.

    Parameters
    ----------
    package : Path
        Its folder.
    digests : ndarray of str, shape (n,)
        Of the pictures' files; the first 64 bits are kept, as of those that trained it.
    logits : ndarray of float64, shape (n, findings)
        Kept as float32.
    """
    np.savez_compressed(
        package / OUT_OF_FOLD, mark=_marks(digests), logits=logits.astype(np.float32)
    )


def out_of_fold(package: ModelPackage, examples: Examples) -> tuple[Rows, NDArray[np.float64]]:
    """Return the rows that such answers are kept of, and the answers, (m, findings).

    None of a package that was measured on one split: its test pictures can be asked anew.
    """
    file = package.path / OUT_OF_FOLD
    if not file.is_file():
        return np.zeros(0, np.int64), np.zeros((0, len(package.findings)))
    with np.load(file, allow_pickle=False) as kept:
        marks, logits = kept["mark"], kept["logits"].astype(np.float64)
    order = np.argsort(marks)
    wanted = _marks(examples.digest)
    place = np.minimum(np.searchsorted(marks, wanted, sorter=order), len(marks) - 1)
    found = marks[order[place]] == wanted
    return np.flatnonzero(found).astype(np.int64), logits[order[place[found]]]


def _marks(digests: NDArray[np.str_]) -> NDArray[np.uint64]:
    return np.asarray([int(one[:16], 16) for one in digests.tolist()], np.uint64)
