"""Solve the head of a network whose features are given, where patients are too few to train it.

Ridge regression, in its dual form (Saunders et al., ICML 1998), from the features of every place of
a grid to what should come out: the labels, and the logits of a teacher, each standardised. Every
picture is seen plain and in a few changed copies, so that the weights bear what machines change.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tools.train import augment, fit
from tools.train.examples import Examples, Rows
from tools.train.network import ScanNet, gridded
from tools.train.plan import Plan

_COPIES = 6


def head(examples: Examples, rows: Rows, plan: Plan, *, keep: Path, start: Path) -> ScanNet:
    """Return a network with the features of `start` and a head solved on `rows`.

    Raises
    ------
    FitError
        If `start` is missing or of another shape.
    """
    torch.manual_seed(plan.seed)
    network = fit.new_network(plan)
    fit.take_features(network, start)
    network.eval()
    generator = torch.Generator().manual_seed(plan.seed)
    seen = [_features(network, examples, rows, plan, None)]
    seen += [_features(network, examples, rows, plan, generator) for _ in range(_COPIES)]
    features = np.concatenate(seen).astype(np.float64)
    middle = features.mean(axis=0)
    features -= middle
    spread = np.sqrt(features.var(axis=0).sum())
    features /= spread
    goals = np.tile(_goals(examples, rows, plan), (len(seen), 1))
    inner = features @ features.T
    inner.flat[:: len(inner) + 1] += plan.course.ridge * len(inner)
    weights = features.T @ np.linalg.solve(inner, goals) / spread  # (features, labels)
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(weights.T).reshape(network.head.weight.shape))
        network.head.bias.copy_(torch.from_numpy(-middle @ weights))
    fit.keep_finished(keep, plan, network)
    return network


def _features(
    network: ScanNet,
    examples: Examples,
    rows: Rows,
    plan: Plan,
    generator: torch.Generator | None,
) -> NDArray[np.float32]:
    found = []
    with torch.inference_mode():
        for begin in range(0, len(rows), 50):
            batch = torch.from_numpy(examples.tensor(rows[begin : begin + 50]))
            if generator is not None:
                batch = augment.turn(batch, plan.change, generator)
                batch = augment.shade(batch, plan.change, generator)
            maps = network.backbone(batch)
            found.append(gridded(maps, plan.shape.places).flatten(1).numpy())
    return np.concatenate(found)


def _goals(examples: Examples, rows: Rows, plan: Plan) -> NDArray[np.float64]:
    """Return what should come out, (m, labels): labels and a teacher's logits, standardised."""
    truth = np.nan_to_num(examples.truth[rows]).astype(np.float64)
    says = np.clip(examples.teacher[rows].astype(np.float64), 1e-5, 1 - 1e-5)
    taught = np.log(says / (1 - says))
    share = plan.course.teach
    labels = _standard(truth)
    taught = np.where(np.isnan(taught), labels, _standard(np.nan_to_num(taught)))
    return np.asarray((1 - share) * labels + share * taught, np.float64)


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((values - values.mean(axis=0)) / (values.std(axis=0) + 1e-6), np.float64)
