"""Constants in one form: weights of the graph, and float32 however few bits a file keeps."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.graph.wiring import drop_unread


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with each half-precision constant that is cast to float32 as a float32 one.

    A Constant node's value becomes a weight like any other. Every runtime does so when it loads a
    model; a conversion has to see the weights before. No value changes. The model is left as it is.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for node in list(graph.node):
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            weight = graph.initializer.add()
            weight.CopyFrom(node.attribute[0].t)
            weight.name = node.output[0]
            graph.node.remove(node)
    half = {one.name: one for one in graph.initializer if one.data_type == TensorProto.FLOAT16}
    for node in list(graph.node):
        if node.op_type != "Cast" or node.input[0] not in half:
            continue
        if helper.get_attribute_value(node.attribute[0]) != TensorProto.FLOAT:
            continue
        wide = numpy_helper.to_array(half[node.input[0]]).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(wide, node.output[0]))
        graph.node.remove(node)
    drop_unread(graph)
    return result
