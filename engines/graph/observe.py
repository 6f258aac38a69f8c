"""Run a graph in memory, and see what flows through it."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime

from engines.graph.errors import GraphError
from engines.graph.samples import Feeds
from engines.runtime.protocol import Array

_FATAL_ONLY = 4
_MOST_BYTES = 2**31 - 1  # protobuf's limit for one message


@dataclass(frozen=True, slots=True)
class Seen:
    """What a tensor was over all samples.

    Parameters
    ----------
    largest : float
        Largest absolute value; infinite where it held something that is not a number.
    elements : int
        Elements in one sample: all elements over the first axis of the graph's first input.
    """

    largest: float
    elements: float


def run(model: onnx.ModelProto, samples: Sequence[Feeds], *, fused: bool = True) -> list[Feeds]:
    """Run the samples through ONNX Runtime on the CPU, one result for each.

    Parameters
    ----------
    model : onnx.ModelProto
        What to run.
    samples : sequence of dict
        One dict for each run.
    fused : bool
        As an engine serves it, with layers fused into kernels; otherwise each node by itself, just
        as the graph says. Fused kernels of s8 and u8 round differently, in the last step or two.

    Raises
    ------
    GraphError
        If ONNX Runtime cannot load or run the graph.
    """
    if model.ByteSize() > _MOST_BYTES:
        raise GraphError("The model is larger than 2 GB, which a single ONNX file cannot hold.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = _FATAL_ONLY
    # Without VNNI, x86 multiplies u8 by s8 with a sum that can saturate; this asks for the exact
    # way, so that a figure measured here is a figure of the graph and not of the processor.
    options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        names = [output.name for output in session.get_outputs()]
        return [dict(zip(names, session.run(names, feeds), strict=True)) for feeds in samples]
    except _failures() as error:
        raise GraphError(f"ONNX Runtime cannot run the graph: {error}") from error


def opened(model: onnx.ModelProto, names: Container[str] | None = None) -> onnx.ModelProto:
    """Return a copy that also gives what its nodes give: of those names, or all."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    outputs = {output.name for output in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in outputs and (names is None or name in names):
                copy.graph.output.append(onnx.ValueInfoProto(name=name))
    return copy


def observe(model: onnx.ModelProto, samples: Sequence[Feeds]) -> dict[str, Seen]:
    """Return the largest value and the size of every floating tensor between the nodes."""
    all_open = opened(model)
    found: dict[str, Seen] = {}
    for feeds in samples:
        batch = len(next(iter(feeds.values())))
        results = run(all_open, [feeds])[0]
        for name, value in {**feeds, **results}.items():
            if value.dtype.kind != "f":
                continue
            before = found[name].largest if name in found else 0.0
            found[name] = Seen(max(before, _largest(value)), value.size / batch)
    return found


def _largest(value: Array) -> float:
    if not value.size:
        return 0.0
    largest = float(np.abs(value).max())
    return largest if np.isfinite(largest) else float("inf")


def _failures() -> tuple[type[Exception], ...]:
    """ONNX Runtime's exceptions are its own and have no common base but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # noqa: PLC0415

    own = [
        kind
        for kind in vars(state).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    return (*own, RuntimeError, ValueError)
