"""Train, calibrate, measure and package the head CT hemorrhage model.

    python -m tools.train.head_ct --data ../shared/data/head-ct \\
        --out engines/packages/head-ct-hemorrhage

Training takes about half an hour on two cores. `--keep FILE` holds the best weights so far and
survives an interruption; `--from FILE` packages kept weights without training again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engines import LABELS, LOGITS, compare, load_engine, load_package
from engines.runtime import onnx_runtime
from tools.train import assess, card, data, export, fit, phantom
from tools.train.network import SliceNet

SIZE = 160
CALIBRATION, TEST = 10, 20
_CHECKS = 16


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    chosen = _parser().parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    try:
        slices = data.read(chosen.data, size=SIZE)
        divided = data.split(slices, calibration=CALIBRATION, test=TEST, seed=chosen.seed)
        print(f"{len(divided.train)} patients train, {CALIBRATION} calibrate, {TEST} test")
        network = _network(chosen, slices, divided)
        package(
            network,
            slices,
            divided,
            folder=chosen.out,
            version=chosen.version,
            seed=chosen.seed,
            measured=not (chosen.quick or chosen.unmeasured),
        )
    except (data.DataError, export.ExportError) as error:
        print(f"head_ct: {error}", file=sys.stderr)
        return 1
    return 0


def package(
    network: SliceNet,
    slices: data.Slices,
    divided: data.Split,
    *,
    folder: Path,
    version: str,
    seed: int,
    measured: bool,
) -> None:
    """Export the network, settle and measure it as exported, and write the package.

    Every figure comes from ONNX Runtime on the file that ships, not from torch. Test patients serve
    once, so a package on the way (`measured` false) leaves them alone and says so.

    Raises
    ------
    export.ExportError
        If the file does not answer as the network does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.onnx"
    shipped = export.folded(network)
    digest = export.write(shipped, model, size=SIZE)
    calibration, test = slices.rows(divided.calibration), slices.rows(divided.test)
    worst = export.agree(shipped, model, slices.tensor(calibration))
    print(f"{model.stat().st_size} bytes, at most {worst:.1e} from torch")

    settled = assess.settle(slices, calibration, logits(model, slices, calibration), seed=seed)
    figures: tuple[assess.Figure, ...] = ()
    if measured:
        figures = assess.measure(slices, test, logits(model, slices, test), settled, seed=seed)
    for figure in figures:
        held = figure.interval
        print(f"{figure.name} {held.value:.3f} ({held.low:.3f} to {held.high:.3f}), n = {held.n}")
    _checks(shipped, folder / "check.npz", seed=seed)
    facts = card.Facts(
        version=version,
        digest=digest,
        size=SIZE,
        parameters=sum(weight.numel() for weight in shipped.parameters()),
        train=_counts(slices, divided.train),
        calibration=_counts(slices, divided.calibration),
        test=_counts(slices, divided.test),
        seed=seed,
        settled=settled,
        figures=figures,
    )
    card.write(facts, folder)
    written = load_package(folder)
    parity = compare(load_engine(written), written)
    print(f"{folder}: {written.version}, parity {parity.worst:.1e} on {parity.samples} phantoms")


def logits(model: Path, slices: data.Slices, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the exported model's logits of these rows, shape (m,)."""
    engine = onnx_runtime.load(model, threads=2)
    found = [
        engine.infer({export.INPUT: slices.tensor(rows[start : start + 32])})[LOGITS][:, 0]
        for start in range(0, len(rows), 32)
    ]
    engine.close()
    return np.concatenate(found).astype(np.float64)


def _network(chosen: argparse.Namespace, slices: data.Slices, divided: data.Split) -> SliceNet:
    if chosen.kept is not None:
        return fit.load(chosen.kept)
    course = fit.Course(
        rounds=1 if chosen.quick else chosen.rounds, minutes=chosen.minutes, seed=chosen.seed
    )
    with tempfile.TemporaryDirectory() as scratch:
        keep = chosen.keep or Path(scratch) / "best.pt"
        return fit.train(
            slices, divided, course, keep=keep, say=lambda line: print(line, flush=True)
        )


def _checks(network: torch.nn.Module, file: Path, *, seed: int) -> None:
    heads = phantom.heads(_CHECKS, size=SIZE, seed=seed)
    with torch.inference_mode():
        expected = network(torch.from_numpy(heads.astype(np.float32) / np.float32(255)))
    bleeds = phantom.bleeds(_CHECKS)[:, None]
    np.savez_compressed(file, **{export.INPUT: heads, LOGITS: expected.numpy(), LABELS: bleeds})


def _counts(slices: data.Slices, patients: tuple[str, ...]) -> tuple[int, int, int, int]:
    rows = slices.rows(patients)
    ill = sum(bool(slices.bleeding[rows[group]].any()) for group in slices.studies(rows).values())
    return len(patients), ill, len(rows), int(slices.bleeding[rows].sum())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.train.head_ct", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with slices.csv and the patients' folders")
    add("--out", type=Path, required=True, help="folder of the package to write")
    add("--rounds", type=int, default=80, help="rounds of 1,024 slices at most (default 80)")
    add("--minutes", type=float, default=30.0, help="minutes of training at most (default 30)")
    add("--seed", type=int, default=7, help="of the split and the training (default 7)")
    add("--threads", type=int, default=2, help="threads for torch (default 2)")
    add("--version", default="0.1.0", help="of the package (default 0.1.0)")
    add("--keep", type=Path, help="file for the best weights so far")
    add("--from", dest="kept", type=Path, help="package these kept weights; do not train")
    add("--unmeasured", action="store_true", help="leave the test patients alone")
    add("--quick", action="store_true", help="one round, unmeasured: to try the chain with")
    return parser


if __name__ == "__main__":
    sys.exit(main())
