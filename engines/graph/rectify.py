"""Relu between integers, where it costs nothing.

ONNX Runtime's quantizer puts a pair of QuantizeLinear and DequantizeLinear on both sides of a Relu.
The pair before it spends half of the steps on values that are then thrown away, and keeps TensorRT
from joining convolution, Relu and rounding into one kernel (its guide asks for a single pair,
after the Relu). On a CPU the Relu is best done on the bytes themselves, after they were rounded at
the scale that the result has: the bits are the same.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from engines.graph.wiring import makers, readers

_ROUNDS, _BACK = "QuantizeLinear", "DequantizeLinear"


def without_pairs_before(model: onnx.ModelProto) -> None:
    """Take away each pair that serves a Relu alone and is followed by another, in place."""
    graph = model.graph
    made, read = makers(graph), readers(graph)
    promised = {output.name for output in graph.output}
    for node in list(graph.node):
        if node.op_type != "Relu" or not _all_round(read, node.output[0], promised):
            continue
        back = made.get(node.input[0])
        first = made.get(back.input[0]) if back is not None and back.op_type == _BACK else None
        if back is None or first is None or first.op_type != _ROUNDS:
            continue
        if [len(read[one.output[0]]) for one in (first, back)] == [1, 1]:
            node.input[0] = first.input[0]
            graph.node.remove(first)
            graph.node.remove(back)


def on_bytes(model: onnx.ModelProto) -> None:
    """Do each Relu that is rounded at once on the rounded u8 values, in place.

    ``round(max(x, 0))`` is ``max(round(x), zero point)`` at one scale.
    """
    graph = model.graph
    read = readers(graph)
    promised = {output.name for output in graph.output}
    points = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type != "Relu" or not _all_round(read, node.output[0], promised):
            continue
        rounding = read[node.output[0]]
        point = points.get(rounding[0].input[2])
        if len(rounding) != 1 or point is None or point.data_type != onnx.TensorProto.UINT8:
            continue
        zero = numpy_helper.to_array(point)
        least = f"{point.name}.least"
        if zero.size != 1:
            continue
        if least not in points:
            one = numpy_helper.from_array(zero.reshape(()).astype(np.uint8), least)
            graph.initializer.append(one)
            points[least] = one
        rounded = rounding[0].output[0]
        rounding[0].input[0] = node.input[0]
        rounding[0].output[0] = f"{rounded}.signed"
        clip = helper.make_node(
            "Clip", [rounding[0].output[0], least], [rounded], name=f"{node.name}.bytes"
        )
        # Where the Relu was, so that the nodes stay sorted: rounding, then what it rounds to.
        place = list(graph.node).index(rounding[0])
        graph.node.insert(place + 1, clip)
        graph.node.remove(node)


def _all_round(read: dict[str, list[onnx.NodeProto]], name: str, promised: set[str]) -> bool:
    """Return whether a tensor is read, and by nothing but what rounds it."""
    taken = read.get(name, [])
    return bool(taken) and name not in promised and all(one.op_type == _ROUNDS for one in taken)
