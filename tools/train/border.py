"""A border between pictures that a model knows and strangers that it was shown.

How far a picture is from the training pictures (`tools.train.distance`) says nothing of which way:
a head CT is near to a head MRI in most of what a network measures. Shown both, a logistic
regression on the same signatures finds the few measures that tell them apart (ridge, Newton's
method; Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 4.4.1). It only adds
to the distance: what no stranger resembles is still far from the training pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.train.measure import sigmoid

_RIDGE = 1e-4
_ROUNDS = 50
_SETTLED = 1e-6
_SPARED = 99.5  # percentile of familiar pictures held back that stay on the near side


@dataclass(frozen=True, slots=True)
class Border:
    """Weights (features,) and an offset: above 0 lies what is strange."""

    weight: NDArray[np.float32]
    offset: float

    def beyond(self, signatures: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return how far signatures (n, features) are on the strangers' side, shape (n,)."""
        side = signatures.astype(np.float64) @ self.weight.astype(np.float64)
        return np.asarray(side + self.offset)


def draw(
    familiar: NDArray[np.float32], strange: NDArray[np.float32], held: NDArray[np.float32]
) -> Border:
    """Draw the border between signatures, so that familiar ones held back stay on their side.

    Parameters
    ----------
    familiar, strange : ndarray of float32, shape (n, features)
        Each side counts as much as the other, however many it has.
    held : ndarray of float32, shape (m, features)
        Familiar pictures that `familiar` does not hold: 99.9 % of them stay on the near side.
    """
    middle, spread = familiar.mean(axis=0), familiar.std(axis=0) + 1e-6
    rows = (np.concatenate([familiar, strange]).astype(np.float64) - middle) / spread
    rows = np.column_stack([rows, np.ones(len(rows))])
    truth = np.repeat([0.0, 1.0], [len(familiar), len(strange)])
    share = np.repeat([0.5 / len(familiar), 0.5 / len(strange)], [len(familiar), len(strange)])
    ridge = np.full(rows.shape[1], _RIDGE)
    ridge[-1] = 0.0  # the offset is free
    found = np.zeros(rows.shape[1])
    for _ in range(_ROUNDS):
        says = sigmoid(rows @ found)
        slope = rows.T @ (share * (says - truth)) + ridge * found
        curve = (rows * (share * says * (1 - says))[:, None]).T @ rows
        step = np.linalg.solve(curve + np.diag(ridge + 1e-12), slope)
        found -= step
        if np.abs(step).max() < _SETTLED:
            break
    weight = (found[:-1] / spread).astype(np.float32)
    border = Border(weight, float(found[-1] - weight.astype(np.float64) @ middle))
    reach = max(0.0, float(np.percentile(border.beyond(held), _SPARED)))
    return Border(border.weight, border.offset - reach)
