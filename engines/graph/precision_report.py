"""Which nodes run in which precision, and what each step down costs in accuracy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from engines.aggregate import calibrate
from engines.graph.fp16 import to_fp16
from engines.graph.int8 import Calibrator, to_int8
from engines.graph.model import element_types
from engines.graph.observe import run
from engines.graph.samples import Feeds
from engines.graph.twin import cpu_twin
from engines.manifest import ModelPackage
from engines.runtime.protocol import LOGITS, Array

Probabilities = Callable[[Feeds], Array]
"""From the outputs of one run to probabilities of any shape."""

_MARKERS = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast", "Constant"})
_FLOATS = {onnx.TensorProto.FLOAT: "fp32", onnx.TensorProto.FLOAT16: "fp16"}


@dataclass(frozen=True, slots=True)
class NodePrecision:
    """A node and what it computes in: ``fp32``, ``fp16``, ``int8`` or ``other`` (indices)."""

    node: str
    op: str
    precision: str


@dataclass(frozen=True, slots=True)
class Step:
    """One precision of a model, held against fp32 on the same samples.

    Parameters
    ----------
    name : str
        ``fp16``, or ``int8`` and its calibrator.
    nodes : tuple of NodePrecision
        In graph order, without casts and Q/DQ.
    worst, mean : float
        Largest and mean difference in probability, on the CPU. For ``fp16`` the CPU computes in
        fp32, so these show that the graph is whole and not what a GPU loses.
    """

    name: str
    nodes: tuple[NodePrecision, ...]
    worst: float
    mean: float

    def counts(self) -> Mapping[str, int]:
        """Return how many nodes run in each precision."""
        return Counter(node.precision for node in self.nodes)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.counts().items()))
        return f"{self.name}: {counts}; max {self.worst:.5f}, mean {self.mean:.5f} from fp32"


def node_precisions(model: onnx.ModelProto) -> tuple[NodePrecision, ...]:
    """Return what each node computes in.

    A node between DequantizeLinear nodes is ``int8``: its data, and its weights where it has any,
    come from eight bits, and a builder fuses the whole into one eight-bit layer. A bias may be
    float.
    """
    types = element_types(model)
    quantized = {
        output
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        for output in node.output
    }
    found = []
    for node in model.graph.node:
        if node.op_type in _MARKERS:
            continue
        data = [name for name in node.input[:2] if types.get(name) in _FLOATS]
        if data and all(name in quantized for name in data):
            precision = "int8"
        else:
            precision = _FLOATS.get(types.get(node.output[0], 0), "other")
        found.append(NodePrecision(node.name, node.op_type, precision))
    return tuple(found)


def report(
    model: onnx.ModelProto,
    samples: Sequence[Feeds],
    probabilities: Probabilities,
    *,
    calibration: Sequence[Feeds] | None = None,
) -> tuple[Step, ...]:
    """Convert a model to fp16 and, with each calibrator, to int8, and compare them with fp32.

    Parameters
    ----------
    model : onnx.ModelProto
        From `engines.graph.model.parse_model`.
    samples : sequence of dict
        What is compared.
    probabilities : callable
        Such as `of_package`.
    calibration : sequence of dict, optional
        What int8 is calibrated on; `samples` where nothing else is given.

    Returns
    -------
    tuple of Step

    Raises
    ------
    GraphError
        If a step cannot be made.
    """
    held = samples if calibration is None else calibration
    reference = [probabilities(outputs) for outputs in run(model, samples)]
    steps = [("fp16", to_fp16(model, held).model)]
    # The twin computes the same and is what a CPU runs.
    steps.extend(
        (f"int8 {calibrator.value}", cpu_twin(to_int8(model, held, calibrator)))
        for calibrator in Calibrator
    )
    return tuple(_compare(name, graph, samples, reference, probabilities) for name, graph in steps)


def of_package(package: ModelPackage) -> Probabilities:
    """Return the calibrated probabilities of a package's findings, shape (n, findings)."""

    def read(outputs: Feeds) -> Array:
        logits = outputs[package.output.tensor]
        return np.stack(
            [calibrate(logits[:, item.output], *item.calibration) for item in package.findings], 1
        )

    return read


def classes(outputs: Feeds) -> Array:
    """Return the softmax over axis 1 of ``logits``: the classes of a segmentation."""
    logits = outputs[LOGITS].astype(np.float64)
    steep = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(steep / steep.sum(axis=1, keepdims=True))


def _compare(
    name: str,
    graph: onnx.ModelProto,
    samples: Sequence[Feeds],
    reference: Sequence[Array],
    probabilities: Probabilities,
) -> Step:
    found = [probabilities(outputs) for outputs in run(graph, samples)]
    apart = np.concatenate(
        [np.abs(ours - theirs).ravel() for ours, theirs in zip(found, reference, strict=True)]
    )
    return Step(name, node_precisions(graph), float(apart.max()), float(apart.mean()))
