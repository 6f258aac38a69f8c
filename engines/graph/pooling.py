"""An average followed by a 1 x 1 convolution is one convolution: the same sums, fewer steps.

Residual networks shrink their shortcuts so. ONNX Runtime averages bytes several times slower than
it convolves them, so the two are joined before a graph is quantized. The weights are divided by the
number of elements averaged; the result differs from the original by rounding alone.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from engines.graph.wiring import drop_unread, readers


def joined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with every such pair as one convolution; the model is left as it is.

    A pair is joined where the average does not overlap or pad and feeds nothing else, and the
    convolution has one group, no padding, and weights that are constants of the graph.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    read = readers(graph)
    promised = {output.name for output in graph.output}
    for average in list(graph.node):
        step = _step(average)
        following = read.get(average.output[0], [])
        if step is None or len(following) != 1 or average.output[0] in promised:
            continue
        convolution = following[0]
        if not _mixes_channels(convolution, weights):
            continue
        old = numpy_helper.to_array(weights[convolution.input[1]])
        spread = np.broadcast_to(old / np.float32(np.prod(step)), (*old.shape[:2], *step))
        name = f"{convolution.input[1]}.averaged"
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(spread), name))
        one = helper.make_node(
            "Conv",
            [average.input[0], name, *convolution.input[2:]],
            list(convolution.output),
            name=convolution.name,
            kernel_shape=step,
            strides=step,
        )
        convolution.CopyFrom(one)
        graph.node.remove(average)
    drop_unread(graph)
    return result


def _step(node: onnx.NodeProto) -> list[int] | None:
    """Return the size of an average that neither overlaps nor pads; None of anything else."""
    if node.op_type != "AveragePool":
        return None
    held = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    size = list(held["kernel_shape"])
    plain = (
        list(held.get("strides", [])) == size
        and not any(held.get("pads", []))
        and held.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
        and not held.get("ceil_mode", 0)
        and all(one == 1 for one in held.get("dilations", []))
    )
    return size if plain else None


def _mixes_channels(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> bool:
    """Return whether it is a 1 x 1 convolution of one group and step, with constant weights."""
    if node.op_type != "Conv" or node.input[1] not in weights:
        return False
    held = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return (
        all(one == 1 for one in weights[node.input[1]].dims[2:])
        and held.get("group", 1) == 1
        and all(one == 1 for one in held.get("strides", []))
        and not any(held.get("pads", []))
    )
