"""A model in each precision: built for this GPU, compared with FP32, and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from engines import (
    Engine,
    EngineError,
    ModelPackage,
    PackageError,
    load_engine,
    load_package,
    shipped_packages,
)
from engines.build.plan import MODULES, Module
from engines.candidates import Bench, Candidate, NotMade, candidates
from engines.graph.int8 import Calibrator
from engines.runtime.protocol import Precision
from engines.runtime.tensorrt import TensorRtEngine
from engines.serving import load_built
from engines.store import EngineStore
from tools.bench.report import Row, percentile
from tools.gpu_check.machine import Machine
from tools.gpu_check.part import Part, failed, not_run, passed

_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
_CACHE = 4 << 30
_LEAST_RUNS = 3
_PATIENCE_S = 60.0  # a volume of 256 cubed takes a CPU a minute


@dataclass(frozen=True, slots=True)
class Pace:
    """What runs took, in milliseconds, and how many there were."""

    runs: int
    p50: float
    p99: float
    compute: float | None


def every(machine: Machine, folder: Path, *, quick: bool) -> Iterator[Part]:
    """Check all shipped packages."""
    for place in sorted(shipped_packages().iterdir()):
        if (place / "model.toml").is_file():
            yield from of_package(load_package(place), machine, folder, quick=quick)


def of_package(
    package: ModelPackage, machine: Machine, folder: Path, *, quick: bool
) -> Iterator[Part]:
    """Check one package, in each precision on each builder."""

    @cache
    def peer() -> Pace:
        with closing(load_engine(package)) as plain:
            return _pace(plain, package, quick=quick)

    for precision in _PRECISIONS:
        yield from _one(package, precision, machine, folder, peer, quick=quick)


def _one(
    package: ModelPackage,
    precision: Precision,
    machine: Machine,
    folder: Path,
    peer: Callable[[], Pace],
    *,
    quick: bool,
) -> Iterator[Part]:
    here = tuple(module for module in MODULES if machine.installed[module])
    for module in MODULES:
        if module not in here:
            lacks = f"{module} is not installed; {machine.lacks[module] or 'it is needed'}"
            yield not_run(_name(package, precision, module), lacks)
    bench = Bench(EngineStore(folder, limit=_CACHE), machine.gpu, here)
    for made in candidates(package, precision, Calibrator.PERCENTILE, bench):
        builder = made.builder if isinstance(made, NotMade) else made.key.runtime
        if builder in MODULES or isinstance(made, NotMade):
            yield _judged(package, precision, made, bench, peer, quick=quick)


def _judged(
    package: ModelPackage,
    precision: Precision,
    made: Candidate | NotMade,
    bench: Bench,
    peer: Callable[[], Pace],
    *,
    quick: bool,
) -> Part:
    if isinstance(made, NotMade):
        name = _name(package, precision, made.builder)
        if not made.offered:
            return not_run(name, f"not offered: {made.reason}")
        return not_run(name, made.reason) if bench.gpu is None else failed(name, made.reason)
    name = _name(package, precision, made.key.runtime)
    size = Row(f"{_metric(name)}_engine_mb", made.size / 1e6, "MB", note=name)
    if made.parity is None:
        lacks = f"{made.not_run}; built in {made.seconds:.1f} s"
        return Part(name, "could not run" if bench.gpu is None else "failed", lacks, (size,))
    said = (
        f"off by {made.parity.worst:.4f} at most in {made.parity.samples} samples; "
        f"{made.parity.tolerance:.4f} allowed"
    )
    try:
        with closing(load_built(package, made.key, bench.store, 1)) as engine:
            ours = _pace(engine, package, quick=quick)
        theirs = peer()
    except (EngineError, PackageError) as error:
        return failed(name, str(error))
    runs = f"{ours.runs} runs, the peer's {theirs.runs}"
    rows = [
        size,
        Row(f"{_metric(name)}_ms_p50", ours.p50, "ms", "ONNX Runtime, fp32", theirs.p50, note=runs),
        Row(f"{_metric(name)}_ms_p99", ours.p99, "ms", "ONNX Runtime, fp32", theirs.p99, note=runs),
    ]
    if ours.compute is not None:
        rows.append(Row(f"{_metric(name)}_compute_ms", ours.compute, "ms", note="CUDA events"))
    return passed(name, said, *rows) if made.parity.agrees else failed(name, said, *rows)


def _pace(engine: Engine, package: ModelPackage, *, quick: bool) -> Pace:
    spec = package.input
    zeros: dict[str, Any] = {spec.tensor: np.zeros((1, spec.channels, *spec.sizes), np.float32)}
    for _ in range(1 if package.volumes else 3):
        engine.infer(zeros)
    spent: list[float] = []
    inside: list[float] = []
    started = time.monotonic()
    for _ in range(20 if quick or package.volumes else 300):
        if len(spent) >= _LEAST_RUNS and time.monotonic() - started > _PATIENCE_S:
            break
        began = time.perf_counter()
        engine.infer(zeros)
        spent.append((time.perf_counter() - began) * 1000)
        if isinstance(engine, TensorRtEngine) and engine.timing is not None:
            inside.append(engine.timing.compute)
    compute = percentile(inside, 0.5) if inside else None
    return Pace(len(spent), percentile(spent, 0.5), percentile(spent, 0.99), compute)


def _name(package: ModelPackage, precision: Precision, module: Module | str) -> str:
    return f"{package.name}, {precision}, {module}"


def _metric(name: str) -> str:
    return name.replace(", ", "_").replace("-", "_")
