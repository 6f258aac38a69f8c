"""How unlike the training pictures a picture is, from its signature.

The deviation of a signature from the middle of the training pictures', in parts that do not vary
together, each in units of how much the training pictures vary in it (Mahalanobis, 1936; on features
of a network: Lee et al., NeurIPS 2018). The distance is 1 for a picture as ordinary as they come.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST = 3e-3  # of the mean variance: what varies less is no measure, and small bits would upset it
_FLAGGED = 99.5  # percentile of familiar pictures at which the limit stands
_MARGIN = 1.1


@dataclass(frozen=True, slots=True)
class Familiar:
    """The middle (features,), what makes parts of deviations (features, parts), and the limit."""

    middle: NDArray[np.float32]
    whiten: NDArray[np.float32]
    limit: float

    def distance(self, signatures: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return how far signatures (n, features) are from the training pictures, shape (n,)."""
        parts = (signatures - self.middle) @ self.whiten
        return np.asarray(np.sqrt((parts.astype(np.float64) ** 2).mean(axis=1)))


def learn(seen: NDArray[np.float32], held: NDArray[np.float32]) -> Familiar:
    """Learn what is familiar from signatures, and set the limit on others held back.

    The limit stands where 0.5 % of the held-back pictures, a tenth farther, would lie beyond it.

    Parameters
    ----------
    seen : ndarray of float32, shape (n, features)
    held : ndarray of float32, shape (m, features)
    """
    middle = seen.mean(axis=0)
    variance, directions = np.linalg.eigh(np.cov(seen - middle, rowvar=False).astype(np.float64))
    kept = variance > _LEAST * variance.mean()
    whiten = directions[:, kept] / np.sqrt(variance[kept])
    found = Familiar(middle.astype(np.float32), whiten.astype(np.float32), 0.0)
    limit = round(float(np.percentile(found.distance(held), _FLAGGED)) * _MARGIN, 4)
    return Familiar(found.middle, found.whiten, limit)
