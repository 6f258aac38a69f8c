"""Teach a package which pictures it knows and which it does not, and write the package anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines import ModelPackage, load_package
from engines.package import digest_of
from tools.train import acquaint, border, checks, distance, judge, reading, strangers
from tools.train.border import Border
from tools.train.distance import Familiar
from tools.train.examples import DataError, Examples, Rows, folds
from tools.train.plan import Plan
from tools.train.unknown import HEADING, Turned, Unknown, familiar, section

_PARTS = 6
_SHOWN, _MEASURED = 200, 40  # pictures of a kind: to learn from, and to measure on
_DRAWN = range(100, 112)
_GAMMAS = (0.7, 1.4)  # a familiar picture shown a little darker or brighter is still familiar
_HELD = "pictures that set the limit (all others trained the model)"

Signatures = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Acquaintance:
    """What a package learnt: how far is too far, and the border to strangers."""

    known: Familiar
    border: Border

    def strange(self, signatures: Signatures) -> NDArray[np.bool_]:
        """Return which signatures (n, features) the model does not judge, shape (n,)."""
        far = self.known.distance(signatures) > self.known.limit
        return np.asarray(far | (self.border.beyond(signatures) > 0))


def run(
    plan: Plan, package: ModelPackage, folder: Path, version: str, *, say: Callable[[str], None]
) -> None:
    """Teach a package that is there already, and write its model, description and card anew.

    Raises
    ------
    DataError
        If the folder cannot be read, or holds none of the pictures that trained the package.
    """
    examples = reading.read(replace(plan, input=package.input), folder)
    unknown = teach(plan, package, examples, folder)
    _describe(package, version, unknown)
    say(f"{load_package(package.path).path}: {version}, limit {unknown.limit}")


def teach(plan: Plan, package: ModelPackage, examples: Examples, folder: Path) -> Unknown:
    """Learn from the pictures that trained the package, and write the model alone.

    A sixth of the patients set limit and border. Pictures that the simulated scanner draws count as
    familiar, so that a demonstration goes the way that a patient would. Of other collections the
    first half is shown as strangers, and the second measures.

    Parameters
    ----------
    plan : Plan
        Which collections are strangers, and the seed.
    package : ModelPackage
        With the record of what trained it.
    examples : Examples
        Of the folder, as the package's input asks.
    folder : Path
        The strangers' folders are beside it.

    Raises
    ------
    DataError
        If the folder holds none of the pictures that trained the package.
    """
    fresh = judge.unseen(package, examples)
    seen = np.setdiff1d(np.arange(len(examples), dtype=np.int64), fresh)
    if len(seen) == 0:
        raise DataError(
            f"{folder}: none of its pictures trained {package.name}, so they cannot say what it "
            f"knows. Give the folder that it was trained on ({judge.TRAINED_ON} in the package)."
        )
    probe = acquaint.probe(package.model)
    part = folds(examples, count=_PARTS, seed=plan.seed)[0]
    held = np.intersect1d(seen, part.test)
    learnt = _learn(plan, package, probe, examples, np.intersect1d(seen, part.train), held, folder)
    model = probe.acquainted(learnt.known, learnt.border)
    package.model.write_bytes(model.SerializeToString(deterministic=True))
    rows, name = (fresh, "test pictures") if len(fresh) else (held, _HELD)
    return _measured(plan, package, probe, learnt, examples, rows, name, folder)


def _learn(
    plan: Plan,
    package: ModelPackage,
    probe: acquaint.Probe,
    examples: Examples,
    rows: Rows,
    spared: Rows,
    folder: Path,
) -> Acquaintance:
    modality = package.routes[0].modality
    drawn = [
        checks.pictures(package.input, modality, seed=seed).astype(np.float32) / np.float32(255)
        for seed in _DRAWN
    ]
    familiar = np.concatenate(
        [
            probe.signatures(judge.batches(examples, rows)),
            probe.signatures(_changed(examples, rows)),
            probe.signatures(drawn),
        ]
    )
    kept_back = np.concatenate(
        [
            probe.signatures(judge.batches(examples, spared)),
            probe.signatures(_changed(examples, spared)),
        ]
    )
    known = distance.learn(familiar, kept_back)
    kinds = _kinds(plan, package, folder, _SHOWN, half=0)
    shown = [strangers.as_input(found, package.input) for found in kinds.values()]
    shown.append(1 - examples.tensor(_few(rows, _SHOWN)))
    return Acquaintance(known, border.draw(familiar, probe.signatures(shown), kept_back))


def _changed(examples: Examples, rows: Rows) -> Iterator[NDArray[np.float32]]:
    """Yield pictures as another window would show them: darker, and brighter."""
    for gamma in _GAMMAS:
        for batch in judge.batches(examples, rows):
            yield np.power(batch, np.float32(gamma))


def _few(rows: Rows, count: int) -> Rows:
    return rows[:: max(len(rows) // count, 1)][:count]


def _kinds(
    plan: Plan, package: ModelPackage, folder: Path, count: int, *, half: int
) -> dict[str, list[strangers.Picture]]:
    """Return pictures that the model should not judge; the halves have none in common."""
    seed = plan.seed + 1 - half
    kinds = strangers.drawn(min(count, 60), seed=seed)
    kinds |= strangers.other_bodies(20, but=package.routes[0].modality, seed=seed)
    for name in plan.data.strangers:
        place = folder.parent / name
        if (place / "slices.csv").is_file():
            kinds |= strangers.head_cts(place, count, half=half)
        elif found := strangers.from_folder(place, count, half=half):
            kinds[f"collection {name}"] = found
    return kinds


def _measured(
    plan: Plan,
    package: ModelPackage,
    probe: acquaint.Probe,
    learnt: Acquaintance,
    examples: Examples,
    rows: Rows,
    name: str,
    folder: Path,
) -> Unknown:
    """Count who is turned away, among strangers and among `rows`, which are of the right kind."""
    kinds = _kinds(plan, package, folder, _MEASURED, half=1)
    fed = {kind: strangers.as_input(found, package.input) for kind, found in kinds.items()}
    fed["own pictures with black and white exchanged"] = 1 - examples.tensor(_few(rows, _MEASURED))
    own = learnt.strange(probe.signatures(judge.batches(examples, rows)))
    return Unknown(
        limit=learnt.known.limit,
        strangers=tuple(
            Turned(kind, len(pictures), int(learnt.strange(probe.signatures([pictures])).sum()))
            for kind, pictures in fed.items()
        ),
        own=Turned(name, len(own), int(own.sum())),
    )


def _describe(package: ModelPackage, version: str, unknown: Unknown) -> None:
    """Write version, digest and limit into the description, and the section into the card."""
    file = package.path / "model.toml"
    text = file.read_text(encoding="utf-8")
    text = re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', text)
    text = re.sub(r'(?m)^sha256 = ".*"$', f'sha256 = "{digest_of(package.model)}"', text)
    text = re.sub(r"(?m)^\[familiar\]\n(?:\w.*\n)*\n", "", text)
    file.write_text(text.replace("[checks]", f"{familiar(unknown)}[checks]", 1), encoding="utf-8")
    file = package.path / "CARD.md"
    card = file.read_text(encoding="utf-8").replace(f" {package.version}\n", f" {version}\n", 1)
    card = re.sub(rf"(?s){HEADING}\n.*?(?=^## |\Z)", "", card, flags=re.MULTILINE)
    before = "## Speed" if "## Speed" in card else "## Limits"
    file.write_text(card.replace(before, f"{section(unknown)}\n{before}", 1), encoding="utf-8")
