"""``scanside-bench engines``: fp32, fp16 and int8 of each model, beside plain ONNX Runtime.

Ours and each peer take the same slice a few times in a row, as a series brings slices, and then
leave the turn to another, so that whatever else the machine does meets all alike. Each has a
session of its own: the weights of one that two share would lie in the processor's caches more
often. The first run of a turn finds them filled by another and is not counted. Peers:
``InferenceSession`` with its defaults but for the number of threads, and Polygraphy's runner over
such a session.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from engines import Engine, ModelPackage, compare, load_package, shipped_packages
from engines.build import BuildPlan, build
from engines.build.support import present_modules
from engines.candidates import Graphs, shapes_for, write_graphs
from engines.graph.errors import GraphError
from engines.graph.int8 import Calibrator
from engines.parity import read_checks
from engines.runtime import onnx_runtime
from engines.runtime.protocol import Array, Precision
from tools.adopted import adopted
from tools.bench.engine_call import call_cost
from tools.bench.engine_memory import held_mb, plain_session
from tools.bench.real_slices import real_heads, slice_auc
from tools.bench.report import Row, percentile

_THREADS = 1
_BATCH = 8
_IN_A_ROW = 5
_SEED = 1
_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
_SHIPPED = "head-ct-hemorrhage"
_PLAIN = "InferenceSession"
_ON_CPU = "a CPU computes fp16 graphs in fp32, so this says nothing about fp16 on a GPU"

Run = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds of each run, of ours and of each peer in the same rounds.

    The first three are of the wall's clock. The others are of the processor's: other programs on
    the machine lengthen them less, so ratios are taken of them. The last is of a second session
    like that of `plain`: what lies between those two, the measurement cannot tell.
    """

    ours: list[float]
    plain: list[float]
    polygraphy: list[float] | None
    ours_cpu: list[float]
    plain_cpu: list[float]
    again_cpu: list[float]


def run(quick: bool) -> list[Row]:
    """Measure; `quick` takes a tenth of the runs and of the real slices, and fewer models."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="scanside-bench-") as folder:
        medians: dict[tuple[str, str], Timed] = {}
        for package in _packages(Path(folder), quick=quick):
            for precision in _PRECISIONS:
                found = _measure(package, precision, Path(folder), quick)
                rows += found[0]
                if found[1] is not None:
                    medians[package.name, precision] = found[1]
        shipped = load_package(shipped_packages() / _SHIPPED)
        rows += _summary(medians)
        rows.append(call_cost(rounds=100 if quick else 1000))
        rows.append(_auc_loss(shipped, Path(folder), quick))
        rows.append(_rtx_build(shipped, Path(folder), rounds=1 if quick else 3))
    return rows


def _packages(folder: Path, *, quick: bool) -> Iterator[ModelPackage]:
    """Yield the packages that ship, and those that nobody here made, where they can be had."""
    for file in sorted(shipped_packages().glob("*/model.toml")):
        yield load_package(file.parent)
    yield from adopted(folder / "adopted", most=1 if quick else None)


def _measure(
    package: ModelPackage, precision: Precision, folder: Path, quick: bool
) -> tuple[list[Row], Timed | None]:
    name = f"{package.name}.{precision}"
    try:
        graphs = write_graphs(package, precision, Calibrator.PERCENTILE)
    except GraphError as error:
        return [Row(f"latency_ms_p50.{name}", None, "ms", note=str(error))], None
    one = read_checks(package).inputs[:1]
    rounds = max(3, _rounds(package) // (10 if quick else 1))
    file = folder / f"{name}.onnx"
    file.write_bytes(graphs.cpu)
    with closing(onnx_runtime.load(file, threads=_THREADS, precision=precision)) as engine:
        timed = _interleaved(engine, graphs, package.input.tensor, one, rounds, name)
        rows = _latencies(name, timed, precision)
        rows.append(_throughput(engine, graphs, package, name, rounds))
        parity = compare(engine, package)
    rows += [
        Row(f"size_mb.{name}", len(graphs.cpu) / 1e6, "MB", note="the graph"),
        Row(f"parity_worst.{name}", parity.worst, "", note=f"allowed {parity.tolerance:g}"),
        _memory(name, file, package, one),
    ]
    return rows, timed


def _rounds(package: ModelPackage) -> int:
    return 8 if package.volumes else 200


def _interleaved(
    engine: Engine, graphs: Graphs, tensor: str, one: Array, rounds: int, name: str
) -> Timed:
    feeds = {tensor: one}
    session = plain_session(graphs.cpu, _THREADS)
    again = plain_session(graphs.cpu, _THREADS)
    runs: list[Run] = [
        lambda: engine.infer(feeds),
        lambda: session.run(None, feeds),
        lambda: again.run(None, feeds),
    ]
    runner = _polygraphy(graphs)
    if runner is not None:
        runs.append(lambda: runner.infer(feeds))
    for call in runs * 3:
        call()
    spent: list[list[float]] = [[] for _ in runs]
    worked: list[list[float]] = [[] for _ in runs]
    shuffled = np.random.default_rng(_SEED)  # none always comes after the same other
    in_a_row = min(_IN_A_ROW, rounds)
    for _ in track(range(rounds // in_a_row), name, transient=True):
        for which in shuffled.permutation(len(runs)):
            runs[which]()
            for _ in range(in_a_row):
                began, idle = time.perf_counter(), time.thread_time()
                runs[which]()
                worked[which].append(time.thread_time() - idle)
                spent[which].append(time.perf_counter() - began)
    if runner is not None:
        runner.deactivate()
    fourth = spent[3] if len(spent) > 3 else None
    return Timed(spent[0], spent[1], fourth, *worked[:3])


def _polygraphy(graphs: Graphs) -> Any:
    """Return Polygraphy's runner, or None where it is not installed: only developers have it."""
    try:
        from polygraphy.backend.onnxrt import OnnxrtRunner  # noqa: PLC0415
    except ImportError:
        return None
    runner = OnnxrtRunner(plain_session(graphs.cpu, _THREADS))
    runner.activate()
    return runner


def _latencies(name: str, timed: Timed, precision: str) -> list[Row]:
    note = _ON_CPU if precision == "fp16" else ""
    rows = [
        Row(
            f"latency_ms_p{share * 100:.0f}.{name}",
            1000 * percentile(timed.ours, share),
            "ms",
            _PLAIN,
            1000 * percentile(timed.plain, share),
            note=note,
        )
        for share in (0.5, 0.99)
    ]
    if timed.polygraphy is not None:
        rows.append(
            Row(
                f"latency_ms_p50_polygraphy.{name}",
                1000 * percentile(timed.ours, 0.5),
                "ms",
                "Polygraphy",
                1000 * percentile(timed.polygraphy, 0.5),
            )
        )
    return rows


def _throughput(
    engine: Engine, graphs: Graphs, package: ModelPackage, name: str, rounds: int
) -> Row:
    """Measure as many at once as the worker asks: eight slices, or one volume's crop."""
    inputs = read_checks(package).inputs
    at_once = 1 if package.volumes else min(_BATCH, len(inputs))
    feeds = {package.input.tensor: inputs[:at_once]}
    session = plain_session(graphs.cpu, _THREADS)
    ours: list[float] = []
    plain: list[float] = []
    for _ in range(max(2, rounds // 10)):
        for spent, call in ((ours, engine.infer), (plain, lambda fed: session.run(None, fed))):
            began = time.perf_counter()
            call(feeds)
            spent.append(at_once / (time.perf_counter() - began))
    unit = "crops/s" if package.volumes else "slices/s"
    return Row(
        f"throughput.{name}",
        statistics.median(ours),
        unit,
        _PLAIN,
        statistics.median(plain),
        note=f"{at_once} at once, {_THREADS} thread",
    )


def _memory(name: str, file: Path, package: ModelPackage, one: Array) -> Row:
    inputs = file.with_suffix(".npz")
    np.savez(inputs, **{package.input.tensor: one})  # type: ignore[arg-type]  # its name
    return Row(
        f"memory_mb.{name}",
        held_mb("ours", file, inputs, _THREADS),
        "MB",
        _PLAIN,
        held_mb("plain", file, inputs, _THREADS),
        note="largest resident memory of ten runs, above what was resident before loading",
    )


def _summary(medians: dict[tuple[str, str], Timed]) -> list[Row]:
    fp32, int8 = medians[_SHIPPED, "fp32"], medians[_SHIPPED, "int8"]
    ratios = sorted(_median_ratio(timed.ours_cpu, timed.plain_cpu) for timed in medians.values())
    alike = sorted(_median_ratio(timed.again_cpu, timed.plain_cpu) for timed in medians.values())
    return [
        Row(
            "int8_cpu_speedup",
            statistics.median(fp32.ours_cpu) / statistics.median(int8.ours_cpu),
            "times",
            note=f"{_SHIPPED}, processor time, median of fp32 over median of int8, one slice, one "
            "thread; 1.8 is wanted",
        ),
        Row(
            "ort_runtime_ratio",
            statistics.median(ratios),
            "",
            note=f"processor time of ours over {_PLAIN} with the same threads, median over models "
            f"and precisions; from {ratios[0]:.3f} to {ratios[-1]:.3f}",
        ),
        Row(
            "plain_again_ratio",
            statistics.median(alike),
            "",
            note=f"{_PLAIN} over another {_PLAIN}, likewise: how well a ratio can be told here; "
            f"from {alike[0]:.3f} to {alike[-1]:.3f}",
        ),
    ]


def _median_ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(ours) / statistics.median(theirs)


def _auc_loss(package: ModelPackage, folder: Path, quick: bool) -> Row:
    heads = real_heads(package.input, every=10 if quick else 1)
    if heads is None:
        return Row("int8_auc_loss", None, "", note="needs ../shared/data/head-ct")
    before, after = (
        slice_auc(package, folder / f"{package.name}.{name}.onnx", heads)
        for name in ("fp32", "int8")
    )
    if before is None or after is None:
        return Row("int8_auc_loss", None, "", note="no slice with a hemorrhage, or none without")
    note = (
        f"{len(heads.rows)} slices of {heads.patients} patients, {heads.bleeding.sum()} with a "
        f"hemorrhage; most of them trained the model, so it is the difference that counts: AUC "
        f"{before:.4f} in fp32, {after:.4f} in int8; below 0.005 is wanted"
    )
    return Row("int8_auc_loss", before - after, "", note=note)


def _rtx_build(package: ModelPackage, folder: Path, rounds: int) -> Row:
    if "tensorrt_rtx" not in present_modules():
        return Row("rtx_build_s", None, "s", note="tensorrt_rtx is not installed")
    graphs = write_graphs(package, "fp32")
    shapes = shapes_for(package, graphs.native)
    spent = [
        build(
            BuildPlan(
                package.model, folder / "rtx.engine", "tensorrt_rtx", shapes, capability="SM89"
            )
        ).seconds
        for _ in range(rounds)
    ]
    note = f"{package.name} fp32 for SM 89, the process's start included, median of {rounds}"
    return Row("rtx_build_s", statistics.median(spent), "s", note=note)
