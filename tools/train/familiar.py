"""What the training pictures are like, so that the model knows a picture that is not.

A picture's signature (`tools.train.network.signature`) is compared with those of the training
pictures: its deviation from their middle, in parts that do not vary together, each in units of how
much the training pictures vary in it (Mahalanobis, 1936; on features of a network: Lee et al.,
NeurIPS 2018). The distance is 1 for a picture as ordinary as they come.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tools.train import augment
from tools.train.examples import Examples, Rows
from tools.train.network import ScanNet, signature
from tools.train.plan import Plan

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


def learn(network: ScanNet, examples: Examples, plan: Plan, *, train: Rows, held: Rows) -> Familiar:
    """Learn what is familiar from the training rows, and set the limit on rows held back.

    The training pictures are taken as they are and once changed as they were in training, because
    what was trained through is known; the limit stands where 0.5 % of the held-back pictures, a
    tenth farther, would lie beyond it.
    """
    seen = np.concatenate(
        [
            signatures(network, examples, train),
            signatures(network, examples, train, plan=plan),
        ]
    )
    middle = seen.mean(axis=0)
    variance, directions = np.linalg.eigh(np.cov(seen - middle, rowvar=False).astype(np.float64))
    kept = variance > _LEAST * variance.mean()
    whiten = directions[:, kept] / np.sqrt(variance[kept])
    found = Familiar(middle.astype(np.float32), whiten.astype(np.float32), 0.0)
    far = found.distance(signatures(network, examples, held))
    limit = round(float(np.percentile(far, _FLAGGED)) * _MARGIN, 4)
    return Familiar(found.middle, found.whiten, limit)


def signatures(
    network: ScanNet, examples: Examples, rows: Rows, *, plan: Plan | None = None
) -> NDArray[np.float32]:
    """Return the signatures of these rows, (m, features); with a plan, of changed pictures."""
    generator = torch.Generator().manual_seed(0)
    found = []
    with torch.inference_mode():
        for start in range(0, len(rows), 64):
            batch = torch.from_numpy(examples.tensor(rows[start : start + 64]))
            if plan is not None:
                batch = augment.turn(batch, plan.change, generator)
                batch = augment.shade(batch, plan.change, generator)
            found.append(signature(batch, network.backbone(batch)).numpy())
    return np.concatenate(found)
