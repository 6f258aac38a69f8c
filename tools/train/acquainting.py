"""Give a package that cannot tell what it knows a distance, and write the package anew."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines import ModelPackage, load_package
from engines.package import digest_of
from tools.train import acquaint, checks, distance, judge, reading, strangers
from tools.train.distance import Familiar
from tools.train.examples import DataError, Examples, folds
from tools.train.plan import Plan

_PARTS = 6
_STRANGERS = 40
_DRAWN = range(100, 112)


def run(
    plan: Plan, package: ModelPackage, folder: Path, version: str, *, say: Callable[[str], None]
) -> None:
    """Learn from the pictures that trained the package, and write model, description and card.

    A sixth of the patients set the limit. Pictures that the simulated scanner draws count as
    familiar, so that a demonstration goes the way that a patient would.

    Raises
    ------
    DataError
        If the folder cannot be read, or holds none of the pictures that trained the package.
    """
    examples = reading.read(replace(plan, input=package.input), folder)
    fresh = judge.unseen(package, examples)
    seen = np.setdiff1d(np.arange(len(examples), dtype=np.int64), fresh)
    if len(seen) == 0:
        raise DataError(
            f"{folder}: none of its pictures trained {package.name}, so they cannot say what it "
            f"knows. Give the folder that it was trained on ({judge.TRAINED_ON} in the package)."
        )
    probe = acquaint.probe(package.model)
    part = folds(examples, count=_PARTS, seed=plan.seed)[0]
    modality = package.routes[0].modality
    drawn = [
        checks.pictures(package.input, modality, seed=seed).astype(np.float32) / np.float32(255)
        for seed in _DRAWN
    ]
    known = distance.learn(
        np.concatenate(
            [
                probe.signatures(judge.batches(examples, np.intersect1d(seen, part.train))),
                probe.signatures(drawn),
            ]
        ),
        probe.signatures(judge.batches(examples, np.intersect1d(seen, part.test))),
    )
    told = _told(plan, package, probe, known, examples, fresh, folder)
    package.model.write_bytes(probe.acquainted(known).SerializeToString(deterministic=True))
    description = package.path / "model.toml"
    text = description.read_text(encoding="utf-8")
    text = re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', text)
    text = re.sub(r'(?m)^sha256 = ".*"$', f'sha256 = "{digest_of(package.model)}"', text)
    section = f'[familiar]\noutput = "{acquaint.DISTANCE}"\nlimit = {known.limit}\n\n[checks]'
    description.write_text(text.replace("[checks]", section, 1), encoding="utf-8")
    card = package.path / "CARD.md"
    before = card.read_text(encoding="utf-8").replace(f" {package.version}\n", f" {version}\n", 1)
    card.write_text(before.replace("## Limits", f"{told}\n## Limits", 1), encoding="utf-8")
    say(f"{load_package(package.path).path}: {version}, limit {known.limit}")


def _told(
    plan: Plan,
    package: ModelPackage,
    probe: acquaint.Probe,
    known: Familiar,
    examples: Examples,
    fresh: NDArray[np.int64],
    folder: Path,
) -> str:
    """Return the card's section: which pictures are turned away."""
    kinds = strangers.drawn(_STRANGERS, seed=plan.seed)
    kinds |= strangers.other_bodies(_STRANGERS // 2, but=package.routes[0].modality, seed=plan.seed)
    for name in plan.data.strangers:
        found = strangers.from_folder(folder.parent / name, _STRANGERS)
        if found:
            kinds[f"collection {name}"] = found
    fed = {kind: strangers.as_input(found, package.input) for kind, found in kinds.items()}
    few = fresh[:: max(len(fresh) // _STRANGERS, 1)][:_STRANGERS]
    fed["test pictures with black and white exchanged"] = 1 - examples.tensor(few)
    rows, away, total = [], 0, 0
    for kind, pictures in fed.items():
        beyond = int((known.distance(probe.signatures([pictures])) > known.limit).sum())
        away, total = away + beyond, total + len(pictures)
        rows.append(f"| {kind} | {len(pictures)} | {beyond / len(pictures):.0%} |")
    own = known.distance(probe.signatures(judge.batches(examples, fresh)))
    table = "\n".join(rows)
    return f"""## What it does not know

A slice farther than {known.limit:g} from the training slices is not judged. {away / total:.1%} of
{total} pictures that it should not judge were turned away, and {(own > known.limit).mean():.1%} of
the {len(own)} test slices, which it should. Heads that the simulated scanner draws count as
familiar.

| pictures it should not judge | n | abstained |
|---|---|---|
{table}
"""
