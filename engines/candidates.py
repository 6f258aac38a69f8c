"""Engines that want to serve a package: each is made, kept in the cache, and compared with FP32.

A candidate is one precision on one runtime. Its graph is written in that precision; ONNX Runtime
runs the graph as it is, TensorRT and TensorRT for RTX build an engine from it. What this machine
can run is compared here and now; what it cannot says why.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from engines.build import BuildError, BuildPlan, Progress, Shapes, build
from engines.build.modules import PlanRefused, load
from engines.build.plan import Module
from engines.cache import EngineKey
from engines.gpu import Gpu
from engines.graph.drift import drift
from engines.graph.errors import GraphError, NotOffered
from engines.graph.fp16 import to_fp16
from engines.graph.int8 import Calibrator, to_int8
from engines.graph.model import parse_model
from engines.graph.samples import check_samples
from engines.graph.twin import cpu_twin
from engines.manifest import ModelPackage
from engines.package import PackageError, digest_of
from engines.parity import Parity, compare, read_checks
from engines.runtime.protocol import EngineError, Precision
from engines.serving import load_built, onnx_runtime_key
from engines.store import EngineStore

_TRIAL = "SM89"
"""What TensorRT for RTX builds for where there is no GPU: whether the model can be built at all."""
_MOST_AT_ONCE = 16
_MOST_TOLD = 3  # nodes


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that was made.

    Parameters
    ----------
    key : EngineKey
        Its place in the cache.
    size : int
        Bytes.
    seconds : float
        To make it; 0 where it was in the cache.
    notes : tuple of str
        What its builder said.
    parity : Parity or None
        How it compared; None where it was not run here.
    not_run : str
        Why it was not; empty where it was.
    """

    key: EngineKey
    size: int
    seconds: float
    notes: tuple[str, ...]
    parity: Parity | None
    not_run: str = ""


@dataclass(frozen=True, slots=True)
class NotMade:
    """An engine that could not be made.

    Parameters
    ----------
    builder : str
        What was to make it.
    precision : str
    reason : str
        Why not, and what to do.
    offered : bool
        False where the model has no form of that precision, because it would gain nothing by it;
        then nothing has failed.
    """

    builder: str
    precision: str
    reason: str
    offered: bool = True


@dataclass(frozen=True, slots=True)
class Graphs:
    """One precision of a model.

    Parameters
    ----------
    precision : str
        With the calibration, for int8.
    native : bytes
        For TensorRT.
    cpu : bytes
        For ONNX Runtime; another graph for int8 alone, see `engines.graph.twin`.
    kept : tuple of str
        Nodes that stay in fp32, with the reason.
    """

    precision: str
    native: bytes
    cpu: bytes
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bench:
    """What candidates are made with.

    Parameters
    ----------
    store : EngineStore
        Where they are kept.
    gpu : Gpu or None
        Of this machine.
    modules : sequence of str
        Builders that are installed.
    threads : int
        For ONNX Runtime.
    on_progress : callable
        Told of a builder's phases and steps.
    dla_core : int or None
        TensorRT's engines are built for this deep learning accelerator, and for the GPU what it
        cannot run.
    """

    store: EngineStore
    gpu: Gpu | None
    modules: Sequence[Module]
    threads: int = 1
    on_progress: Callable[[Progress], None] | None = None
    dla_core: int | None = None


def write_graphs(
    package: ModelPackage, precision: Precision, calibrator: Calibrator = Calibrator.PERCENTILE
) -> Graphs:
    """Write a package's graph in a precision.

    Parameters
    ----------
    package : ModelPackage
        Its check set shows fp16 what overflows, and int8 which ranges are used.
    precision : str
        ``fp32``, ``fp16`` or ``int8``.
    calibrator : Calibrator
        For int8.

    Raises
    ------
    GraphError
        If the graph cannot be read or converted, or there is no check set where one is needed.
    """
    content = package.model.read_bytes()
    if precision == "fp32":
        return Graphs("fp32", content, content)
    model = parse_model(content, str(package.model))
    samples = check_samples(package, batch=1 if package.volumes else 4)
    if precision == "fp16":
        half = to_fp16(model, samples)
        written = half.model.SerializeToString()
        return Graphs("fp16", written, written, tuple(f"{k.node}: {k.reason}" for k in half.kept))
    assert package.check_set is not None  # noqa: S101  # check_samples read it
    quantized = to_int8(model, samples, calibrator)
    return Graphs(
        f"int8 {calibrator.value} {digest_of(package.check_set)[:12]}",
        quantized.SerializeToString(),
        cpu_twin(quantized).SerializeToString(),
    )


def candidates(
    package: ModelPackage, precision: Precision, calibrator: Calibrator, bench: Bench
) -> Iterator[Candidate | NotMade]:
    """Make every engine that can be made of one precision, and compare those that run here.

    Raises
    ------
    CacheError
        If the cache cannot be written.
    """
    try:
        graphs = write_graphs(package, precision, calibrator)
    except GraphError as error:
        yield NotMade("graph", precision, str(error), offered=not isinstance(error, NotOffered))
        return
    yield _on_cpu(package, graphs, bench)
    for module in bench.modules:
        yield _on_gpu(package, graphs, module, bench)


def _on_cpu(package: ModelPackage, graphs: Graphs, bench: Bench) -> Candidate:
    key = onnx_runtime_key(package, graphs.precision)
    bench.store.cache.get_or_build(key, lambda target: target.write_bytes(graphs.cpu))
    made = _compared(Candidate(key, len(graphs.cpu), 0.0, graphs.kept, None), package, bench)
    if made.parity is None or made.parity.agrees or graphs.precision == "fp32":
        return made
    return replace(made, notes=(*made.notes, _where_it_drifts(package, graphs)))


def _where_it_drifts(package: ModelPackage, graphs: Graphs) -> str:
    """Say which nodes take a precision away from FP32, for whoever wants to keep them in it."""
    reference = parse_model(package.model.read_bytes(), str(package.model))
    samples = check_samples(package, batch=1)
    try:
        found = drift(reference, onnx.load_model_from_string(graphs.cpu), samples)
    except GraphError as error:
        return f"which nodes take it away from fp32 cannot be told: {error}"
    return f"away from fp32 most: {'; '.join(map(str, found[:_MOST_TOLD]))}"


def _on_gpu(
    package: ModelPackage, graphs: Graphs, module: Module, bench: Bench
) -> Candidate | NotMade:
    if bench.gpu is None and module == "tensorrt":
        return NotMade(
            module, graphs.precision.split()[0], "TensorRT's builder needs a GPU; there is none."
        )
    try:
        builder = f"{module} {load(module).version}"
        shapes = shapes_for(package, graphs.native)
        key = key_for(package, graphs.precision, builder, shapes, bench)
        began, cache, said = time.monotonic(), bench.store.cache, list[str]()
        known = cache.find(key) is not None

        def make(target: Path) -> None:
            with TemporaryDirectory(prefix="scanside-build-") as folder:
                graph = Path(folder) / "model.onnx"
                graph.write_bytes(graphs.native)
                plan = plan_for(package, graph, target, module, shapes, bench)
                try:
                    said.extend(build(plan, on_progress=bench.on_progress).warnings)
                except BuildError as error:
                    # The graph's own file is gone when this is read; the package's is there.
                    raise BuildError(str(error).replace(str(graph), str(package.model))) from error
                finally:
                    bench.store.sweep_timings()

        content = cache.get_or_build(key, make, notes=lambda: said)
    except (BuildError, PlanRefused, GraphError) as error:
        return NotMade(module, graphs.precision.split()[0], str(error))
    took = 0.0 if known else time.monotonic() - began
    made = Candidate(key, len(content), took, (*graphs.kept, *cache.notes(key)), None)
    if bench.gpu is None:
        return replace(
            made, not_run=f"no GPU here; it was built for {_TRIAL} to see that it can be"
        )
    return _compared(made, package, bench)


def key_for(
    package: ModelPackage, precision: str, builder: str, shapes: tuple[Shapes, ...], bench: Bench
) -> EngineKey:
    """Return the place in the cache of an engine that a builder makes here."""
    return EngineKey(
        model=package.digest,
        builder=builder,
        gpu="none" if bench.gpu is None else bench.gpu.name,
        capability=_TRIAL if bench.gpu is None else bench.gpu.capability,
        precision=precision,
        profile=f"{shapes}, {_workspace(package) >> 20} MiB",
        tool=version("scanside"),
        dla_core=bench.dla_core,
    )


def plan_for(
    package: ModelPackage,
    graph: Path,
    target: Path,
    module: Module,
    shapes: tuple[Shapes, ...],
    bench: Bench,
) -> BuildPlan:
    """Return what a builder is to make here of a graph that was written for it."""
    return BuildPlan(
        graph,
        target,
        module,
        shapes,
        _workspace(package),
        capability=_TRIAL if bench.gpu is None else None,
        dla_core=bench.dla_core,
        timing_cache=bench.store.timings(module),
    )


def _workspace(package: ModelPackage) -> int:
    """Return the bytes of scratch memory a builder may plan with: a volume's layers are large."""
    if package.input.depth is None:
        return 256 << 20
    return min(6 << 30, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4)


def _compared(made: Candidate, package: ModelPackage, bench: Bench) -> Candidate:
    try:
        with closing(load_built(package, made.key, bench.store, bench.threads)) as engine:
            return replace(made, parity=compare(engine, package))
    except (EngineError, PackageError) as error:
        return replace(made, not_run=str(error))


def shapes_for(package: ModelPackage, model: bytes) -> tuple[Shapes, ...]:
    """Return the shapes an engine is made for: up to 16 slices at once, or one volume.

    A volume's engine also takes crops down to those of the check set, where the model leaves the
    sizes free.
    """
    rest = (package.input.channels, *package.input.sizes)
    if package.input.depth is None:
        return (Shapes(package.input.tensor, (1, *rest), (1, *rest), (_MOST_AT_ONCE, *rest)),)
    smallest = rest
    if package.check_set is not None and _sizes_free(model, package.input.tensor):
        held = read_checks(package).inputs.shape[1:]
        smallest = tuple(min(pair) for pair in zip(rest, held, strict=True))
    return (Shapes(package.input.tensor, (1, *smallest), (1, *rest), (1, *rest)),)


def _sizes_free(model: bytes, tensor: str) -> bool:
    graph = onnx.load_model_from_string(model).graph
    found = next(one for one in graph.input if one.name == tensor)
    return not any(axis.HasField("dim_value") for axis in found.type.tensor_type.shape.dim[2:])
