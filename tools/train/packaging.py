"""From a trained network to a model package: export, settle, measure as exported, write."""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engines import LOGITS, Aggregate, ModelPackage, compare, load_engine, load_package
from engines.graph.int8 import Calibrator, to_int8
from engines.graph.model import parse_model
from engines.graph.samples import check_samples
from engines.graph.twin import cpu_twin
from engines.package import digest_of
from engines.runtime import onnx_runtime
from tools.train import (
    acquainting,
    assess,
    card,
    checks,
    courses,
    curve,
    export,
    fit,
    judge,
    reading,
)
from tools.train.assess import Judged, Settled
from tools.train.examples import DataError, Examples, Rows, Split
from tools.train.measure import auc
from tools.train.network import Committee
from tools.train.plan import Plan

# A finding flags only if its area is above chance by more than luck in one of fourteen explains.
_CLEAR_OF_CHANCE = 0.6
_TIMED = 40

_ONE_SPLIT = (
    "The sets share no patient or group. Length of training and averaging of the weights were "
    "settled beforehand; the calibration pictures alone decided calibration, threshold and band; "
    "the test pictures measured, in ONNX Runtime, the very file that "
    "ships."
)
_FOLDS = (
    "Few patients: {folds} networks were trained as this one was, each without a part of the "
    "patients, and each judged the part it had not seen. The figures are of these out-of-fold "
    "answers; the network that ships saw all patients. Calibration, threshold and band come from "
    "the same out-of-fold answers, so sensitivity and specificity flatter a little."
)


@dataclass(frozen=True, slots=True)
class _Measured:
    """Rows, and what was said of them by networks that had not seen them, (m, findings)."""

    rows: Rows
    logits: NDArray[np.float64]


def make(
    plan: Plan, folder: Path, runs: Path, out: Path, *, threads: int, say: Callable[[str], None]
) -> None:
    """Write the package of a trained model into `out`.

    Raises
    ------
    DataError
        If the data cannot be read or divided, or do not hold a finding both ways.
    FitError
        If a network is not trained yet.
    ExportError
        If the exported file does not answer as the network does.
    """
    examples = reading.read(plan, folder)
    divided = reading.splits(plan, examples)
    network = courses.load(plan, runs, 0)
    folds = [courses.load(plan, runs, one.number) for one in divided if one.number]
    everyone = np.arange(len(examples), dtype=np.int64)
    _check_both(plan, examples, everyone if folds else divided[0].calibration)
    out.mkdir(parents=True, exist_ok=True)
    shipped = export.folded(network, plan.shipped)
    digest = export.write(shipped, out / "model.onnx", plan)
    _checks(shipped, plan, out / "check.npz")
    seen = np.concatenate([divided[0].train, divided[0].calibration])
    trained = everyone if folds else seen
    np.save(out / judge.TRAINED_ON, judge.marks(examples.digest[trained]))
    facts = card.Facts(
        digest=digest,
        parameters=sum(weight.numel() for weight in shipped.parameters()),
        sets=_sets(examples, divided),
        how=_FOLDS.format(folds=len(folds)) if folds else _ONE_SPLIT,
        findings=tuple(_unsettled(plan, column) for column in plan.shipped),
        unknown=None,
        speeds=(),
        machine=f"{platform.machine()}, Linux",
        extra=(),
    )
    card.write(plan, facts, out)
    package = load_package(out)
    probe = examples.tensor(everyone[:: max(len(examples) // 64, 1)])
    worst = export.agree(shipped, package.model, plan.input.tensor, probe)
    unknown = acquainting.teach(plan, package, examples, folder)
    facts = replace(facts, digest=digest_of(package.model), unknown=unknown)
    card.write(plan, facts, out)
    package = load_package(out)
    say(f"{package.model.stat().st_size} bytes, at most {worst:.1e} from torch")

    if folds:
        settling = measured = _out_of_fold(plan, examples, divided, folds)
        judge.keep_out_of_fold(out, examples.digest[measured.rows], measured.logits)
    else:
        settling = _asked(package, examples, divided[0].calibration, threads)
        measured = _asked(package, examples, divided[0].test, threads)
    findings = tuple(
        _finding(plan, package.aggregate, examples, place, settling, measured)
        for place in range(len(plan.shipped))
    )
    for found in findings:
        for one in found.figures:
            held = one.interval
            say(
                f"{one.finding}: {one.level} {one.name} {held.value:.3f} "
                f"({held.low:.3f} to {held.high:.3f}), {one.positives} with, "
                f"{one.negatives} without"
            )
    facts = replace(
        facts,
        findings=findings,
        speeds=_speeds(package),
        extra=_extra(plan, examples, runs, findings),
    )
    card.write(plan, facts, out)
    written = load_package(out)
    parity = compare(load_engine(written), written)
    say(f"{out}: {written.version}, parity {parity.worst:.1e} on {parity.samples} drawn pictures")


def _check_both(plan: Plan, examples: Examples, settling: Rows) -> None:
    """Refuse a finding that the pictures which settle its threshold all have, or all lack."""
    for column in plan.shipped:
        truth = examples.truth[settling, column]
        has, lacks = int((truth > 0.5).sum()), int((truth <= 0.5).sum())
        if not has or not lacks:
            raise DataError(
                f"{plan.labels[column].label}: {has} of the pictures that settle it have the "
                f"finding and {lacks} have it not; some of both are needed. Add patients, or take "
                f"the label out of {plan.file.name}."
            )


def _unsettled(plan: Plan, column: int) -> card.Finding:
    """Return a finding before anything is known of it: for a package that is only asked."""
    start = Settled(1.0, 0.0, 0.5, (0.5, 0.5))
    return card.Finding(plan.labels[column], start, (), (), (), 0.0, False, None)


def _finding(
    plan: Plan,
    pooling: Aggregate,
    examples: Examples,
    place: int,
    settling: _Measured,
    measured: _Measured,
) -> card.Finding:
    label = plan.labels[plan.shipped[place]]
    decides = _judged(plan, examples, settling, place)
    judges = _judged(plan, examples, measured, place)
    settled = assess.settle(
        examples, decides, pooling, missed_costs=plan.missed_costs, seed=plan.seed
    )
    figures = assess.measure(examples, judges, label.label, settled, pooling, seed=plan.seed)
    bins, error = assess.reliability(judges, settled)
    areas = [one for one in figures if one.name == "AUC"]
    return card.Finding(
        label=label,
        settled=settled,
        figures=figures,
        groups=assess.subgroups(examples, judges, label.label, seed=plan.seed),
        bins=bins,
        error=error,
        reliable=label.flags
        and len(areas) == 2  # of pictures and of studies
        and all(one.interval.low > _CLEAR_OF_CHANCE for one in areas),
        peer=_peer(plan, examples, measured.rows, place),
    )


def _judged(plan: Plan, examples: Examples, said: _Measured, place: int) -> Judged:
    truth = examples.truth[said.rows, plan.shipped[place]]
    known = ~np.isnan(truth)
    return Judged(said.logits[known, place], truth[known] > 0.5, said.rows[known])


def _peer(plan: Plan, examples: Examples, rows: Rows, place: int) -> float | None:
    """Return the area of the network that taught, on the same pictures."""
    column = plan.shipped[place]
    says, truth = examples.teacher[rows, column], examples.truth[rows, column]
    known = ~np.isnan(says) & ~np.isnan(truth)
    return float(auc(says[known].astype(float), truth[known] > 0.5)) if known.any() else None


def _asked(package: ModelPackage, examples: Examples, rows: Rows, threads: int) -> _Measured:
    answers = judge.ask(package, judge.batches(examples, rows), threads=threads)
    return _Measured(rows, answers.logits)


def _out_of_fold(
    plan: Plan, examples: Examples, divided: tuple[Split, ...], folds: list[Committee]
) -> _Measured:
    logits = [
        fit.logits(network, examples, one.test)[:, list(plan.shipped)]
        for one, network in zip(divided, folds, strict=True)
    ]
    rows = np.concatenate([one.test for one in divided])
    order = np.argsort(rows)  # as `scanside-train eval` meets them
    return _Measured(rows[order], np.concatenate(logits)[order])


def _checks(network: torch.nn.Module, plan: Plan, file: Path) -> None:
    modality = plan.tables["routes"][0]["modality"]
    drawn = checks.pictures(plan.input, modality, seed=plan.seed)
    with torch.inference_mode():
        logits = network(torch.from_numpy(drawn.astype(np.float32) / np.float32(255)))
    np.savez_compressed(file, **{plan.input.tensor: drawn, LOGITS: logits.numpy()})


def _speeds(package: ModelPackage) -> tuple[card.Speed, ...]:
    """Time one picture in fp32, and in int8 with its cost in probability."""
    model = parse_model(package.model.read_bytes(), str(package.model))
    small = cpu_twin(to_int8(model, check_samples(package), Calibrator.PERCENTILE))
    speeds = []
    with tempfile.TemporaryDirectory() as scratch:
        int8 = Path(scratch) / "int8.onnx"
        int8.write_bytes(small.SerializeToString())
        for precision, file in (("fp32", package.model), ("int8", int8)):
            engine = onnx_runtime.load(file, threads=1)
            one = np.zeros((1, package.input.channels, *package.input.sizes), np.float32)
            times = []
            for _ in range(_TIMED):
                began = time.perf_counter()
                engine.infer({package.input.tensor: one})
                times.append(1000 * (time.perf_counter() - began))
            speeds.append(
                card.Speed(precision, statistics.median(times), compare(engine, package).worst)
            )
            engine.close()
    return tuple(speeds)


def _sets(examples: Examples, divided: tuple[Split, ...]) -> tuple[tuple[str, int, int], ...]:
    if divided[0].number:
        groups = len(set(examples.group.tolist()))
        return (("trained, and measured out of fold", len(examples), groups),)
    one = divided[0]
    return tuple(
        (name, len(rows), len(set(examples.group[rows].tolist())))
        for name, rows in (
            ("trained", one.train),
            ("calibrated", one.calibration),
            ("tested", one.test),
        )
    )


def _extra(
    plan: Plan, examples: Examples, runs: Path, findings: tuple[card.Finding, ...]
) -> tuple[str, ...]:
    paragraphs = []
    peers = [found for found in findings if found.peer is not None and found.figures]
    if peers:
        rows = "\n".join(
            f"| {found.label.label} | {found.figures[0].interval.value:.3f} | {found.peer:.3f} |"
            for found in peers
        )
        paragraphs.append(
            "The network that taught it (a published DenseNet-121 trained on some 100,000 images "
            "of the same hospital), on the same pictures:\n\n"
            f"| finding | this model | DenseNet-121 |\n|---|---|---|\n{rows}"
        )
    found = curve.kept(plan, runs)
    if found is not None:
        paragraphs.append(curve.words(found))
    if plan.data.group == "look":
        paragraphs.append(_groups_matter(plan, examples, runs, findings))
    return tuple(paragraphs)


def _groups_matter(
    plan: Plan, examples: Examples, runs: Path, findings: tuple[card.Finding, ...]
) -> str:
    """Say how many pictures are linked, and what a split that ignores it would have claimed."""
    linked = len(examples) - len(set(examples.group.tolist()))
    text = (
        f"Nobody wrote down whose pictures these are. {linked} of {len(examples)} pictures look so "
        "much like another (perceptual hash) that they share its group, and a group is never on "
        "two sides of the split."
    )
    careless = courses.ungrouped(plan, runs)
    if not careless.is_file():
        return text
    alone = examples.grouped(examples.study)
    rows = reading.splits(plan, alone)[0].test
    logits = fit.logits(Committee([fit.load(careless, plan)]), alone, rows)
    said = _Measured(rows, logits[:, list(plan.shipped)])
    lines = []
    for place, found in enumerate(findings):
        held = _judged(plan, alone, said, place)
        loose, strict = auc(held.logit, held.truth), found.figures[0].interval.value
        lines.append(f"| {found.label.label} | {strict:.4f} | {loose:.4f} |")
    return (
        f"{text} A second network, trained and tested on a split picture by picture, shows what "
        "that care is worth:\n\n| finding | AUC, split by groups | AUC, split by pictures |\n"
        "|---|---|---|\n" + "\n".join(lines)
    )
