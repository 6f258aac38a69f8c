"""Teach the network, and keep the weights that the calibration patients like best.

The test patients are not seen here. "Best" is the log loss of the averaged weights on the slices of
the calibration patients after Platt scaling, so that the choice does not hang on the scale of the
logits; the first half of the course, when the learning rate is high, is not chosen from.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tools.train import augment, lesions
from tools.train.data import KINDS, Slices, Split
from tools.train.measure import auc, log_loss, platt, sigmoid
from tools.train.network import SliceNet, pooled

BATCH = 32
BLEEDING_SHARE = 0.35
DRAWN_SHARE = 0.3
KIND_WEIGHT = 0.1
PLACE_WEIGHT = 0.5
_SLICES_A_ROUND = 1024


@dataclass(frozen=True, slots=True)
class Course:
    """How long and how hard to train.

    Parameters
    ----------
    rounds : int
        Rounds of 1,024 slices at most.
    minutes : float
        Wall clock at most; the learning rate reaches its end by whichever comes first.
    seed : int
        Of weights, sampling and augmentation.
    rate : float
        Highest learning rate.
    """

    rounds: int
    minutes: float
    seed: int
    rate: float = 2e-3


def logits(network: SliceNet, slices: Slices, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the first logit of these rows, float64 (m,)."""
    network.eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(rows), 64):
            batch = torch.from_numpy(slices.tensor(rows[start : start + 64]))
            found.append(network(batch)[:, 0].double().numpy())
    return np.concatenate(found)


def train(
    slices: Slices, split: Split, course: Course, *, keep: Path, say: Callable[[str], None]
) -> SliceNet:
    """Train and return the best averaged network; each better one is also written to `keep`.

    Parameters
    ----------
    slices : Slices
        All slices; only rows of `split.train` and `split.calibration` are used.
    split : Split
        Who trains and who calibrates.
    course : Course
        Length and seed.
    keep : Path
        File for the best weights so far (a torch state dict).
    say : callable
        Takes one line a round.
    """
    torch.manual_seed(course.seed)
    generator = torch.Generator().manual_seed(course.seed)
    rng = np.random.default_rng(course.seed)
    rows = slices.rows(split.train)
    held = slices.rows(split.calibration)
    network = SliceNet(1 + len(KINDS)).to(memory_format=torch.channels_last)
    average = copy.deepcopy(network)
    decay: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for parameter in network.parameters():
        (decay if parameter.ndim > 1 else plain).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
        lr=course.rate,
    )
    started, best, step, settled = time.monotonic(), math.inf, 0, False
    for turn in range(course.rounds):
        done = max(turn / course.rounds, (time.monotonic() - started) / (60 * course.minutes))
        if done >= 1:
            break
        losses = []
        for batch in _round(slices, rows, rng, generator):
            rate = course.rate * max(0.5 * (1 + math.cos(math.pi * done)), 0.01)
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / 100)
            losses.append(_step(network, optimizer, batch))
            step += 1
            _follow(average, network, min(0.995, (1 + step) / (10 + step)))
        held_logits = logits(average, slices, held)
        truth = slices.bleeding[held]
        a, b = platt(held_logits, truth)
        loss = log_loss(sigmoid(a * held_logits + b), truth)
        mark = ""
        if done >= 0.5 and not settled:
            best, settled = math.inf, True
        if loss < best:
            best, mark = loss, " *"
            torch.save(average.state_dict(), keep)
        say(
            f"round {turn + 1} of {course.rounds} {time.monotonic() - started:.0f} s "
            f"train {np.mean(losses):.4f} calibration {loss:.4f} "
            f"auc {auc(held_logits, truth):.3f}{mark}"
        )
    return load(keep)


def load(kept: Path) -> SliceNet:
    """Return the network whose weights were kept, ready to judge."""
    network = SliceNet(1 + len(KINDS))
    network.load_state_dict(torch.load(kept, weights_only=True))
    network.eval()
    return network


@dataclass(frozen=True, slots=True)
class _Batch:
    """Pictures (n, 3, h, w), goals (n, 6; NaN unknown), blood (n, 1, h, w), and where it is known.

    Blood is known where we drew it and where a slice is healthy; of a real bleed only the slice's
    label is known.
    """

    pictures: Tensor
    goals: Tensor
    blood: Tensor
    known: Tensor


def _round(
    slices: Slices,
    rows: NDArray[np.int64],
    rng: np.random.Generator,
    generator: torch.Generator,
) -> Iterator[_Batch]:
    """Draw one round: bleeding slices more often than they come, some bleeds drawn by us."""
    ill = rows[slices.bleeding[rows]]
    well = rows[~slices.bleeding[rows]]
    real = int(_SLICES_A_ROUND * BLEEDING_SHARE)
    chosen = np.concatenate([rng.choice(ill, real), rng.choice(well, _SLICES_A_ROUND - real)])
    rng.shuffle(chosen)
    for start in range(0, len(chosen), BATCH):
        part = chosen[start : start + BATCH]
        pictures = slices.tensor(part)
        blood = np.zeros_like(pictures[:, :1])
        bleeding = slices.bleeding[part]
        goals = np.concatenate([bleeding[:, None], slices.kinds[part]], axis=1).astype(np.float32)
        for i in np.flatnonzero(~bleeding & (rng.random(len(part)) < DRAWN_SHARE)):
            lesion = lesions.draw(pictures[i], rng)
            if lesion is not None:
                pictures[i], blood[i, 0] = lesion.image, lesion.mask
                goals[i, 0] = float(lesion.bleeding)
                goals[i, 1:] = np.nan if lesion.bleeding else 0.0
        ordered = augment.reorder(torch.from_numpy(pictures), generator)
        turned = augment.turn(torch.cat([ordered, torch.from_numpy(blood)], dim=1), generator)
        yield _Batch(
            augment.shade(turned[:, :3], generator),
            torch.from_numpy(goals),
            turned[:, 3:],
            torch.from_numpy(~bleeding),
        )


def _step(network: SliceNet, optimizer: torch.optim.Optimizer, batch: _Batch) -> float:
    network.train()
    # bfloat16 halves the time on CPUs that have it; weights and averages stay float32.
    with torch.autocast("cpu", dtype=torch.bfloat16):
        evidence = network.evidence(batch.pictures.contiguous(memory_format=torch.channels_last))
    evidence = evidence.float()
    stated = ~torch.isnan(batch.goals)
    goals = torch.nan_to_num(batch.goals) * 0.98 + 0.01
    each = functional.binary_cross_entropy_with_logits(pooled(evidence), goals, reduction="none")
    each = each * stated
    loss = each[:, 0].mean() + KIND_WEIGHT * each[:, 1:].sum(dim=1).mean()
    loss = loss + PLACE_WEIGHT * _place(evidence[:, 0], batch)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
    optimizer.step()
    return float(each[:, 0].mean().item())


def _place(evidence: Tensor, batch: _Batch) -> Tensor:
    """Return how wrong the map is where the place of blood is known, bloody and clean alike."""
    covered = functional.adaptive_avg_pool2d(batch.blood, evidence.shape[-2:])[:, 0]
    bloody, clean = covered > 0.25, covered < 0.02
    wrong = functional.binary_cross_entropy_with_logits(evidence, bloody.float(), reduction="none")
    clean = clean & batch.known[:, None, None]
    return (wrong * bloody).sum() / (bloody.sum() + 1) + (wrong * clean).sum() / (clean.sum() + 1)


def _follow(average: SliceNet, network: SliceNet, keep: float) -> None:
    """Move the averaged weights, and the running statistics, towards the network's."""
    with torch.no_grad():
        theirs = network.state_dict()
        for name, mine in average.state_dict().items():
            if mine.dtype.is_floating_point:
                mine.mul_(keep).add_(theirs[name], alpha=1 - keep)
            else:
                mine.copy_(theirs[name])
