"""Which nodes lose too much in fewer bits, and stay in fp32.

The rule, in the order it is asked:

1. What exponentiates or normalises (softmax, exp, log, pow, layer and instance normalisation):
   a small error of the input is a large one of the output.
2. What sums more than 1024 elements into one: half precision has 11 bits, so the sum stops growing
   when it is 2048 times as large as what is added.
3. What was seen to leave fp16's range on the samples, with a margin of four: 65504 / 4. Weights
   count as well.

4. Averages that overlap (AveragePool by steps of one): nothing is gained in int8, where ONNX
   Runtime takes fourteen times as long for them as in fp32. It concerns int8 alone.
5. Convolutions that see the pixels themselves, where a pixel has at most eight channels, and their
   Relu: what is rounded there is lost to every later step, and kernels for bytes take channels by
   the dozen (with one channel, ONNX Runtime takes seven times as long as in fp32). Int8 alone.
6. What joins a tensor with a constant (a bias after a matrix product, the factors of a GELU, the
   token in front of a transformer's patches), and what no pixel reaches: TensorRT takes a constant
   in bytes nowhere but as a weight. Int8 alone.

The first two also keep int8 away, and away from the additions and products that follow: their
inputs would be quantized, and with them what was to stay exact. Where there are no samples, every
sum counts as large.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import inf

import numpy as np
import onnx
from onnx import numpy_helper

from engines.graph.errors import NotOffered
from engines.graph.model import element_types
from engines.graph.observe import Seen
from engines.graph.wiring import still

LARGE_SUM = 1024
FEW_CHANNELS = 8
FP16_LIMIT = 65504.0 / 4

_STEEP = frozenset(
    {
        "Exp",
        "GroupNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "Log",
        "LogSoftmax",
        "MeanVarianceNormalization",
        "Pow",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceSumSquare",
        "Softmax",
    }
)
_SUMS = frozenset(
    {"GlobalAveragePool", "GlobalLpPool", "ReduceL1", "ReduceL2", "ReduceMean", "ReduceSum"}
)


_MIXING = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_ELEMENTWISE = frozenset({"Add", "Div", "Mul", "Sub"})
_WITH_PARAMETERS = frozenset({"BatchNormalization", "Clip", "PRelu", "Pad", "Resize"})
_ROUNDING = frozenset({"DequantizeLinear", "QuantizeLinear"})
FLOAT = onnx.TensorProto.FLOAT


@dataclass(frozen=True, slots=True)
class Kept:
    """A node that stays in fp32.

    Parameters
    ----------
    node, op : str
        Its name and operator.
    reason : str
        For people.
    """

    node: str
    op: str
    reason: str


def refuse_quantized(model: onnx.ModelProto) -> None:
    """Refuse a graph that somebody quantized before.

    Raises
    ------
    NotOffered
        If it has a QuantizeLinear or DequantizeLinear.
    """
    if any(node.op_type in _ROUNDING for node in model.graph.node):
        raise NotOffered(
            "The model is quantized already, and is served as it is: fp32 leaves its bytes as they "
            "are."
        )


def steep_or_summing(model: onnx.ModelProto, seen: Mapping[str, Seen]) -> tuple[Kept, ...]:
    """Return the nodes of rules 1 and 2, in graph order."""
    kept = []
    for node in model.graph.node:
        if node.op_type in _STEEP:
            kept.append(Kept(node.name, node.op_type, "exponentiates or normalises"))
        elif node.op_type in _SUMS and (extent := _extent(node, seen)) > LARGE_SUM:
            what = "an unknown number of" if extent == inf else f"{extent:.0f}"
            kept.append(Kept(node.name, node.op_type, f"sums {what} elements"))
    return tuple(kept)


def overflowing(model: onnx.ModelProto, seen: Mapping[str, Seen]) -> tuple[Kept, ...]:
    """Return the nodes of rule 3, in graph order."""
    largest = {name: tensor.largest for name, tensor in seen.items()}
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            largest[tensor.name] = float(np.abs(values).max()) if values.size else 0.0
    kept = []
    for node in model.graph.node:
        worst = max((largest.get(name, 0.0) for name in (*node.input, *node.output)), default=0.0)
        if worst > FP16_LIMIT:
            kept.append(Kept(node.name, node.op_type, f"reaches {worst:.4g}"))
    return tuple(kept)


def unquantized(model: onnx.ModelProto, seen: Mapping[str, Seen]) -> tuple[Kept, ...]:
    """Return what int8 keeps away from: all rules but 3, and their element-by-element neighbours.

    What follows has their result for an input; what leads to a logarithm hands its own rounding on
    enlarged.
    """
    kept = steep_or_summing(model, seen) + _overlapping(model)
    kept += _with_constants(model, {item.node for item in kept})
    seeing = _seeing_pixels(model)
    names = {item.node for item in kept}
    exact = {name for node in model.graph.node if node.name in names for name in node.output}
    following = tuple(
        Kept(node.name, node.op_type, "follows a node that stays exact")
        for node in model.graph.node
        if node.op_type in _ELEMENTWISE and node.name not in names and exact & set(node.input)
    )
    found = {item.node for item in kept + following + seeing}
    return kept + following + seeing + _around_logarithms(model, found)


def gains_in_int8(model: onnx.ModelProto, kept: Collection[Kept]) -> bool:
    """Return whether int8 would do any of a graph's convolutions and matrix products.

    Where it would not, it costs rounding and saves nothing.
    """
    names = {item.node for item in kept}
    return any(node.op_type in _MIXING and node.name not in names for node in model.graph.node)


def _overlapping(model: onnx.ModelProto) -> tuple[Kept, ...]:
    """Return the nodes of rule 4, in graph order."""
    return tuple(
        Kept(node.name, node.op_type, "averages by steps of one, which int8 makes slower")
        for node in model.graph.node
        if node.op_type == "AveragePool" and set(_strides(node)) == {1}
    )


def _with_constants(model: onnx.ModelProto, found: Collection[str]) -> tuple[Kept, ...]:
    """Return the nodes of rule 6, in graph order."""
    types, known = element_types(model), still(model.graph)
    kept = []
    for node in model.graph.node:
        read = node.input[:1] if node.op_type in _MIXING | _WITH_PARAMETERS else node.input
        constants = [name for name in read if name in known and types.get(name) == FLOAT]
        if constants and node.name not in found:
            kept.append(Kept(node.name, node.op_type, "joins a constant, which stays in float"))
    return tuple(kept)


def _strides(node: onnx.NodeProto) -> list[int]:
    given = [list(item.ints) for item in node.attribute if item.name == "strides"]
    return given[0] if given else [1]


def _seeing_pixels(model: onnx.ModelProto) -> tuple[Kept, ...]:
    """Return the nodes of rule 5, in graph order."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    # What is pixels still, be it sliced, flipped or averaged; and what was convolved from it.
    pixels = {tensor.name for tensor in model.graph.input} - shapes.keys()
    convolved: set[str] = set()
    kept = []
    for node in model.graph.node:
        given = [name for name in node.input if name and name not in shapes]
        if node.op_type == "Relu" and node.input[0] in convolved:
            kept.append(Kept(node.name, node.op_type, "cuts what was made of the pixels"))
        elif node.op_type == "Conv" and node.input[0] in pixels:
            weight = shapes.get(node.input[1], ())
            if len(weight) > 1 and weight[1] <= FEW_CHANNELS:
                convolved.update(node.output)
                kept.append(Kept(node.name, node.op_type, "sees the pixels themselves"))
        elif node.op_type not in _MIXING and given and pixels.issuperset(given):
            pixels.update(node.output)
    return tuple(kept)


def _around_logarithms(model: onnx.ModelProto, found: Collection[str]) -> tuple[Kept, ...]:
    """Return the nodes that lead to a logarithm element by element, and what weighs its result."""
    wanted = {name for node in model.graph.node if node.op_type == "Log" for name in node.input}
    kept = []
    for node in reversed(model.graph.node):  # against the flow
        if node.op_type in _ELEMENTWISE | {"Concat"} and wanted & set(node.output):
            wanted |= set(node.input)
            if node.name not in found:
                kept.append(Kept(node.name, node.op_type, "leads to a logarithm"))
    exact = {name for node in model.graph.node if node.op_type == "Log" for name in node.output}
    for node in model.graph.node:
        if node.op_type in _ELEMENTWISE | {"Gemm", "MatMul"} and exact & set(node.input):
            exact |= set(node.output)
            if node.name not in found:
                kept.append(Kept(node.name, node.op_type, "weighs logarithms"))
    return tuple(kept)


def _extent(node: onnx.NodeProto, seen: Mapping[str, Seen]) -> float:
    before, after = seen.get(node.input[0]), seen.get(node.output[0])
    if before is None or after is None or not after.elements:
        return inf
    return before.elements / after.elements
