"""The same int8 graph for a CPU: u8 activations that compute exactly what s8 ones do.

TensorRT takes s8 with zero point 0 and nothing else; ONNX Runtime on x86 is fast only with u8. A
value q of s8 at zero point 0 and the value q + 128 of u8 at zero point 128 stand for the same
number at the same scale, so one calibration serves both. Weights stay s8.

The equality is the graphs': node by node they give the same bits. An engine fuses nodes into
kernels, and those of s8 and u8 round differently by a step now and then; parity watches that.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from engines.graph.errors import GraphError
from engines.graph.model import check_result
from engines.graph.rectify import on_bytes
from engines.graph.wiring import drop_unread

_SUFFIX = "_u8"


def cpu_twin(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the u8 twin of an s8 graph; the graph given is left as it is.

    Parameters
    ----------
    model : onnx.ModelProto
        From `engines.graph.int8.to_int8`.

    Raises
    ------
    GraphError
        If the graph quantizes no activation, or one with a zero point other than s8 0.
    """
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in twin.graph.initializer}
    activations: set[str] = set()
    points: dict[str, str] = {}
    for node in twin.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] not in weights:
            activations.add(node.output[0])
            _move(node, weights, points)
    for node in twin.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in activations:
            _move(node, weights, points)
    if not activations:
        raise GraphError("The graph quantizes no activation: it is not an int8 graph.")
    for old, new in points.items():
        point = np.full(tuple(weights[old].dims), 128, np.uint8)
        twin.graph.initializer.append(numpy_helper.from_array(point, new))
    on_bytes(twin)
    drop_unread(twin.graph)
    del twin.graph.value_info[:]  # they say s8; inferred anew
    return check_result(twin, "u8")


def _move(
    node: onnx.NodeProto, weights: dict[str, onnx.TensorProto], points: dict[str, str]
) -> None:
    name = node.input[2] if len(node.input) > 2 else ""
    point = weights.get(name)
    if (
        point is None
        or point.data_type != onnx.TensorProto.INT8
        or numpy_helper.to_array(point).any()
    ):
        raise GraphError(
            f"Node {node.name!r} ({node.op_type}): only a constant s8 zero point of 0 has a twin."
        )
    points[name] = node.input[2] = name + _SUFFIX
