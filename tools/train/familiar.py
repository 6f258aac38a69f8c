"""What a network's training pictures are like, so that it knows a picture that is not.

A picture's signature (`tools.train.network.signature`) is compared with those of the training
pictures (`tools.train.distance`).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from tools.train import augment, distance
from tools.train.distance import Familiar
from tools.train.examples import Examples, Rows
from tools.train.network import Committee, signature
from tools.train.plan import Plan


def learn(
    network: Committee, examples: Examples, plan: Plan, *, train: Rows, held: Rows
) -> Familiar:
    """Learn what is familiar from the training rows, and set the limit on rows held back.

    The training pictures are taken as they are and once changed as they were in training, because
    what was trained through is known.
    """
    seen = [signatures(network, examples, train), signatures(network, examples, train, plan=plan)]
    return distance.learn(np.concatenate(seen), signatures(network, examples, held))


def signatures(
    network: Committee, examples: Examples, rows: Rows, *, plan: Plan | None = None
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
            found.append(signature(batch, network.looks(batch)[1]).numpy())
    return np.concatenate(found)
