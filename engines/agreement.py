"""How far two answers to the same question agree: by rank, by AUC, by outline. Pure functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.runtime.protocol import Array


def ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the rank of each value, from 1; equal values share the mean of their ranks.

    Parameters
    ----------
    values : ndarray of float, shape (n,)
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[place.ravel()])


def spearman(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> float | None:
    """Return the rank correlation of two rows of values, -1 to 1.

    Parameters
    ----------
    ours, theirs : ndarray of float, shape (n,)

    Returns
    -------
    float or None
        None where one of them does not vary: then there is no order to agree on. Source:
        Spearman, The American Journal of Psychology 15(1), 1904.
    """
    a, b = ranks(ours), ranks(theirs)
    a, b = a - a.mean() if a.size else a, b - b.mean() if b.size else b
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread else None


def auc(values: NDArray[np.floating], labels: NDArray[np.integer]) -> float | None:
    """Return the area under the ROC curve: how often a positive is above a negative.

    Parameters
    ----------
    values : ndarray of float, shape (n,)
    labels : ndarray of int, shape (n,)
        1 positive, 0 negative; anything else is not counted.

    Returns
    -------
    float or None
        None where one kind is missing. Source: Hanley and McNeil, Radiology 143(1), 1982.
    """
    known = (labels == 0) | (labels == 1)
    order, positive = ranks(values[known]), labels[known] == 1
    ill, well = int(positive.sum()), int((~positive).sum())
    if not ill or not well:
        return None
    return float((order[positive].sum() - ill * (ill + 1) / 2) / (ill * well))


def dice(ours: Array, theirs: Array) -> float:
    """Return the Dice coefficient of two masks of one shape, 0 to 1; two empty ones are alike.

    Source: Dice, Ecology 26(3), 1945.
    """
    both = np.count_nonzero(ours & theirs)
    either = np.count_nonzero(ours) + np.count_nonzero(theirs)
    return 2.0 * both / either if either else 1.0
