"""Teach a network for a fixed course, resumable at every epoch.

Nothing is chosen while it trains: the length of the course and the averaging of the weights are
settled beforehand, so that the patients who calibrate and those who test have no say in the
weights.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tools.train import augment, lesions
from tools.train.examples import Examples, Rows
from tools.train.measure import platt, sigmoid
from tools.train.network import Committee, ScanNet, pooled
from tools.train.plan import Plan

_PLACE_WEIGHT = 0.5
_WARM_UP = 0.1  # share of the course in which the learning rate rises


class FitError(RuntimeError):
    """Training cannot begin or go on; the message says why."""


def new_network(plan: Plan) -> ScanNet:
    """Return an untrained network of the plan's shape."""
    return ScanNet(plan.input, plan.shape, len(plan.labels))


def load(kept: Path, plan: Plan) -> ScanNet:
    """Return the averaged network of a finished course, ready to judge.

    Raises
    ------
    FitError
        If there is none, it is not finished, or it is of another configuration.
    """
    state = _read(kept, plan)
    if state is None or state["epoch"] < plan.course.epochs:
        done = 0 if state is None else state["epoch"]
        raise FitError(
            f"{kept}: {done} of {plan.course.epochs} epochs are done. "
            f"Go on with: scanside-train fit {plan.name}"
        )
    network: ScanNet = new_network(plan)
    network.load_state_dict(state["average"])
    network.eval()
    return network


def take_features(network: ScanNet, start: Path) -> None:
    """Take the features of another model's checkpoint, as far as its layers are like ours.

    Raises
    ------
    FitError
        If there is none, or not even the first layer is alike.
    """
    if not start.is_file():
        raise FitError(f"{start}: not found. Train the model that this one starts from first.")
    theirs = torch.load(start, weights_only=True)["average"]
    alike = {
        name: theirs[name]
        for name, ours in network.state_dict().items()
        if name.startswith("backbone.") and name in theirs and theirs[name].shape == ours.shape
    }
    if "backbone.stem.0.weight" not in alike:
        raise FitError(f"{start}: its network has another shape; only like starts from like.")
    network.load_state_dict(alike, strict=False)


def keep_finished(file: Path, plan: Plan, network: ScanNet) -> None:
    """Write a network that took no course as one whose course is done."""
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {"plan": plan.settings, "epoch": plan.course.epochs, "average": network.state_dict()}
    _write(file, state)


def logits(network: Committee, examples: Examples, rows: Rows) -> NDArray[np.float64]:
    """Return the logits of these rows, float64 (m, labels)."""
    network.eval()
    found = [np.zeros((0, len(network.bias)))]
    with torch.inference_mode():
        for start in range(0, len(rows), 64):
            batch = torch.from_numpy(examples.tensor(rows[start : start + 64]))
            found.append(network(batch).double().numpy())
    return np.concatenate(found)


def train(
    examples: Examples,
    rows: Rows,
    plan: Plan,
    *,
    keep: Path,
    start: Path | None,
    say: Callable[[str], None],
) -> ScanNet:
    """Train on `rows` and return the network of averaged weights.

    Parameters
    ----------
    examples : Examples
        All examples; only `rows` are looked at.
    rows : ndarray of int64
        Who trains.
    plan : Plan
        Shape, course and seed.
    keep : Path
        Everything is written here after each epoch; a course that was cut short goes on from it.
    start : Path or None
        A checkpoint of another model whose features are the start.
    say : callable
        Takes one line an epoch.

    Raises
    ------
    FitError
        If `keep` or `start` is of another configuration.
    """
    torch.manual_seed(plan.seed)
    run = _Run(plan)
    state = _read(keep, plan)
    if state is not None:
        run.resume(state)
        say(f"goes on after epoch {run.epoch} of {plan.course.epochs}")
    elif start is not None:
        run.begin_from(start)
    goals = _goals(examples, rows, plan)
    began, first = time.monotonic(), run.epoch
    while run.epoch < plan.course.epochs:
        losses = [run.step(batch) for batch in run.batches(examples, rows, goals)]
        run.epoch += 1
        keep.parent.mkdir(parents=True, exist_ok=True)
        _write(keep, run.state())
        spent = time.monotonic() - began
        left = spent / (run.epoch - first) * (plan.course.epochs - run.epoch)
        say(
            f"epoch {run.epoch} of {plan.course.epochs}: loss {np.mean(losses):.4f}, "
            f"{spent / 60:.1f} min, {left / 60:.1f} min left"
        )
    network: ScanNet = run.average
    network.eval()
    return network


@dataclass(frozen=True, slots=True)
class _Batch:
    """Pictures (n, c, h, w), goals (n, labels; NaN unknown), blood (n, h, w; NaN unknown)."""

    pictures: Tensor
    goals: Tensor
    blood: Tensor


class _Run:
    """A course on its way: networks, optimizer, chance, and how far it is."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.epoch = 0
        self.steps = 0
        self.steps_an_epoch = 1
        self.network = new_network(plan).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network)
        self.generator = torch.Generator().manual_seed(plan.seed)
        self.rng = np.random.default_rng(plan.seed)
        heavy: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for parameter in self.network.parameters():
            (heavy if parameter.ndim > 1 else plain).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": heavy, "weight_decay": plan.course.decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=plan.course.rate,
        )
        self.loss_weights = torch.tensor([label.weight for label in plan.labels])

    def state(self) -> dict[str, Any]:
        """Return everything that the course needs to go on exactly as it would have."""
        return {
            "plan": self.plan.settings,
            "epoch": self.epoch,
            "steps": self.steps,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "dropout": torch.get_rng_state(),
            "rng": json.dumps(self.rng.bit_generator.state),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Take up a course where it was left."""
        self.epoch, self.steps = state["epoch"], state["steps"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["dropout"])
        self.rng.bit_generator.state = json.loads(state["rng"])

    def begin_from(self, start: Path) -> None:
        """Take the features of another model, as far as its layers are like ours."""
        for network in (self.network, self.average):
            take_features(network, start)

    def batches(
        self, examples: Examples, rows: Rows, goals: NDArray[np.float32]
    ) -> Iterator[_Batch]:
        """Draw one epoch."""
        chosen = self._drawn(goals)
        size = self.plan.course.batch
        self.steps_an_epoch = max(len(chosen) // size, 1)
        for begin in range(0, self.steps_an_epoch * size, size):
            part = chosen[begin : begin + size]
            pictures = examples.tensor(rows[part])
            aims = goals[part].copy()
            blood = self._bleed(pictures, aims)
            slices = 2 * self.plan.input.neighbours + 1
            batch = torch.from_numpy(pictures)
            if slices > 1:
                batch = augment.reorder(batch, slices, self.generator)
            both = torch.cat([batch, torch.from_numpy(blood)[:, None]], dim=1)
            both = augment.turn(both, self.plan.change, self.generator)
            batch = augment.shade(both[:, :-1], self.plan.change, self.generator)
            batch = augment.erase(batch, self.plan.change, self.generator)
            yield _Batch(batch, torch.from_numpy(aims), both[:, -1])

    def _drawn(self, goals: NDArray[np.float32]) -> Rows:
        share = self.plan.course.positive_share
        count = len(goals)
        if not share:
            return np.asarray(self.rng.permutation(count), np.int64)
        ill, well = np.flatnonzero(goals[:, 0] > 0.5), np.flatnonzero(goals[:, 0] <= 0.5)
        many = round(count * share)
        chosen = np.concatenate([self.rng.choice(ill, many), self.rng.choice(well, count - many)])
        self.rng.shuffle(chosen)
        return np.asarray(chosen, np.int64)

    def _bleed(
        self, pictures: NDArray[np.float32], goals: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Draw bleeds into some healthy slices, in place; return where blood is (NaN: unknown)."""
        blood = np.zeros((len(pictures), *pictures.shape[2:]), np.float32)
        share = self.plan.course.drawn_share
        if not share:
            return blood
        blood[goals[:, 0] > 0.5] = np.nan
        middle = slice(self.plan.input.neighbours - 1, self.plan.input.neighbours + 2)
        for i in np.flatnonzero((goals[:, 0] <= 0.5) & (self.rng.random(len(goals)) < share)):
            lesion = lesions.draw(pictures[i, middle], self.rng)
            if lesion is not None:
                pictures[i, middle], blood[i] = lesion.image, lesion.mask
                goals[i, 0] = float(lesion.bleeding)
                goals[i, 1:] = np.nan if lesion.bleeding else goals[i, 1:]
        return blood

    def step(self, batch: _Batch) -> float:
        """Learn from one batch and return its loss."""
        course = self.plan.course
        total = max(self.steps_an_epoch * course.epochs, 1)
        done = self.steps / total
        rate = course.rate * min(done / _WARM_UP, 0.5 * (1 + math.cos(math.pi * done)))
        for group in self.optimizer.param_groups:
            group["lr"] = max(rate, course.rate * 0.01)
        pictures, other, share = batch.pictures, batch.goals, 1.0
        if course.mixup and self.rng.random() < 0.5:
            share = float(self.rng.beta(course.mixup, course.mixup))
            pictures = share * pictures + (1 - share) * pictures.flip(0)
            other = batch.goals.flip(0)
        self.network.train()
        # bfloat16 halves the time on CPUs that have it; weights and averages stay float32.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            evidence = self.network.evidence(pictures.contiguous(memory_format=torch.channels_last))
        evidence = evidence.float()
        found = pooled(evidence)
        loss = share * self._loss(found, batch.goals) + (1 - share) * self._loss(found, other)
        if course.drawn_share and share == 1.0:
            loss = loss + _PLACE_WEIGHT * _place(evidence[:, 0], batch.blood)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimizer.step()
        self.steps += 1
        _follow(self.average, self.network, min(0.998, (1 + self.steps) / (10 + self.steps)))
        return float(loss.item())

    def _loss(self, found: Tensor, goals: Tensor) -> Tensor:
        stated = ~torch.isnan(goals)
        low = self.plan.course.smoothing
        aims = torch.nan_to_num(goals) * (1 - 2 * low) + low
        each = functional.binary_cross_entropy_with_logits(found, aims, reduction="none")
        return (each * stated * self.loss_weights).sum() / len(goals)


def _goals(examples: Examples, rows: Rows, plan: Plan) -> NDArray[np.float32]:
    """Return what to aim at: labels, mixed with what a teacher says of the same pictures.

    A teacher's probabilities are of its own patients; each is calibrated on the labels of these
    rows first (Platt), so that only its order of the pictures is learnt from.
    """
    truth = examples.truth[rows].copy()
    share = plan.course.teach
    if not share:
        return truth
    for column in range(truth.shape[1]):
        says, label = examples.teacher[rows, column].astype(np.float64), truth[:, column]
        known = ~np.isnan(says) & ~np.isnan(label)
        if not label[known].any() or label[known].all():
            continue
        clipped = np.clip(says[known], 1e-5, 1 - 1e-5)
        odds = np.log(clipped / (1 - clipped))
        a, b = platt(odds, label[known] > 0.5)
        truth[known, column] = (1 - share) * label[known] + share * sigmoid(a * odds + b)
    return truth


def _place(evidence: Tensor, blood: Tensor) -> Tensor:
    """Return how wrong the map is where the place of blood is known, bloody and clean alike."""
    covered = functional.adaptive_avg_pool2d(blood[:, None], evidence.shape[-2:])[:, 0]
    bloody, clean = covered > 0.25, covered < 0.02  # both are false where it is not known
    wrong = functional.binary_cross_entropy_with_logits(evidence, bloody.float(), reduction="none")
    return (wrong * bloody).sum() / (bloody.sum() + 1) + (wrong * clean).sum() / (clean.sum() + 1)


def _follow(average: ScanNet, network: ScanNet, keep: float) -> None:
    """Move the averaged weights, and the running statistics, towards the network's."""
    with torch.no_grad():
        theirs = network.state_dict()
        for name, mine in average.state_dict().items():
            if mine.dtype.is_floating_point:
                mine.mul_(keep).add_(theirs[name], alpha=1 - keep)
            else:
                mine.copy_(theirs[name])


def _read(kept: Path, plan: Plan) -> dict[str, Any] | None:
    if not kept.is_file():
        return None
    state: dict[str, Any] = torch.load(kept, weights_only=True)
    if state["plan"] != plan.settings:
        raise FitError(
            f"{kept}: was trained with other settings than {plan.file.name} has now. "
            "Remove it to train anew, or name another --runs."
        )
    return state


def _write(file: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint in one step, so that a cut leaves the old or the new one."""
    beside = file.with_suffix(".part")
    torch.save(state, beside)
    beside.replace(file)
