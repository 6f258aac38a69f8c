"""Where a classifier sees what it states: a class-activation output, by graph surgery.

A network that pools its last feature maps and then only adds and weighs has, at every place of
those maps, the very evidence whose pool is the logit (Zhou et al., "Learning Deep Features for
Discriminative Localization", CVPR 2016). Nothing is trained or estimated: the maps are there, and
the surgery brings them out. Two kinds of head are known:

- pooled by the mean (GlobalAveragePool, or ReduceMean over the two axes of the plane), then layers
  that are linear: the maps are weighed by those layers, and the mean of the activation over its
  places is the logit;
- pooled by the map's own softmax (Softmax, Mul, ReduceSum): the map that is pooled is the evidence,
  and its weighted mean is the logit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.graph.errors import GraphError
from engines.graph.model import check_result

ACTIVATION = "activation"
"""The output that is added: float32 (n, outputs, h, w), in logits."""

_WEIGHTS, _BIAS = "activation_weights", "activation_bias"
_AS_IT_IS = frozenset({"Identity", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze"})
_Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class _Linear:
    """What turns pooled features into logits: ``logits = pooled @ weights + bias``."""

    weights: _Matrix | None = None
    bias: _Matrix | None = None

    def after(self, weights: _Matrix | None, bias: _Matrix | None) -> _Linear:
        """Return this step with an earlier one, nearer to the features, before it."""
        if bias is not None:
            carried = bias if self.weights is None else bias @ self.weights
            bias = carried if self.bias is None else carried + self.bias
        else:
            bias = self.bias
        if weights is None:
            return _Linear(self.weights, bias)
        return _Linear(weights if self.weights is None else weights @ self.weights, bias)


class _Walk:
    """The graph, walked against the flow from the logits to what was pooled."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self._made_by = {name: node for node in graph.node for name in node.output}
        self._constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        values = (*graph.value_info, *graph.input, *graph.output)
        self._ranks = {one.name: len(one.type.tensor_type.shape.dim) for one in values}

    def head(self, logits: str) -> tuple[str, _Linear]:
        """Return the name of the pooled maps, (n, channels, h, w), and what follows the pool."""
        linear, name = _Linear(), logits
        while True:
            node = self._made_by.get(name)
            if node is None:
                raise _refused(f"no pool is found between the input and {logits!r}")
            if node.op_type in _AS_IT_IS:
                name = node.input[0]
            elif node.op_type in {"GlobalAveragePool", "ReduceMean"}:
                self._check_axes(node)
                return self._maps(node.input[0]), linear
            elif node.op_type == "ReduceSum":
                return self._evidence(node), linear
            elif node.op_type == "Gemm":
                name, linear = node.input[0], linear.after(*self._gemm(node))
            elif node.op_type == "MatMul":
                name, linear = node.input[0], linear.after(self._matrix(node, node.input[1]), None)
            elif node.op_type == "Add":
                name, bias = self._added(node)
                linear = linear.after(None, bias)
            else:
                raise _refused(
                    f"on the way back from {logits!r}, node {node.name!r} ({node.op_type}) comes"
                    " before any pool"
                )

    def _check_axes(self, node: onnx.NodeProto) -> None:
        if node.op_type == "GlobalAveragePool":
            return
        axes = self._axes(node)
        rank = self._ranks.get(node.input[0], 4)
        if sorted(axis % rank for axis in axes) != list(range(2, rank)):
            raise _refused(f"node {node.name!r} does not pool over the axes of the plane")

    def _axes(self, node: onnx.NodeProto) -> list[int]:
        for attribute in node.attribute:
            if attribute.name == "axes":
                return list(attribute.ints)
        if len(node.input) > 1 and node.input[1] in self._constants:
            return [int(axis) for axis in self._constants[node.input[1]].ravel()]
        return []

    def _evidence(self, node: onnx.NodeProto) -> str:
        """Return the map whose own softmax weighs it: sum(softmax(s * map) * map)."""
        product = self._made_by.get(node.input[0])
        if product is not None and product.op_type == "Mul":
            for weight, values in (product.input, reversed(product.input)):
                softmax = self._made_by.get(weight)
                if softmax is None or softmax.op_type != "Softmax":
                    continue
                if self._unscaled(softmax.input[0]) == values:
                    return self._maps(values)
        raise _refused(f"node {node.name!r} (ReduceSum) does not pool a map by its own softmax")

    def _unscaled(self, name: str) -> str:
        """Return what is sharpened: a constant factor before the softmax changes no place."""
        node = self._made_by.get(name)
        if node is not None and node.op_type == "Mul":
            for factor, values in (node.input, reversed(node.input)):
                if factor in self._constants:
                    return str(values)
        return name

    def _maps(self, name: str) -> str:
        """Return the maps before they were flattened."""
        while self._ranks.get(name) != 4:
            node = self._made_by.get(name)
            if node is None or node.op_type not in _AS_IT_IS:
                raise _refused(f"{name!r} is not a map of two dimensions")
            name = node.input[0]
        return name

    def _gemm(self, node: onnx.NodeProto) -> tuple[_Matrix, _Matrix | None]:
        set_to = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        if set_to.get("transA", 0):
            raise _refused(f"node {node.name!r} (Gemm) turns its input")
        weights = self._matrix(node, node.input[1]) * np.float32(set_to.get("alpha", 1.0))
        if set_to.get("transB", 0):
            weights = weights.T
        if len(node.input) < 3 or not node.input[2]:
            return weights, None
        bias = self._matrix(node, node.input[2]) * np.float32(set_to.get("beta", 1.0))
        return weights, np.broadcast_to(bias, (weights.shape[1],)).astype(np.float32)

    def _added(self, node: onnx.NodeProto) -> tuple[str, _Matrix]:
        for bias, values in (node.input, reversed(node.input)):
            if bias in self._constants:
                return str(values), np.asarray(self._constants[bias], np.float32).ravel()
        raise _refused(f"node {node.name!r} (Add) adds what is not constant")

    def _matrix(self, node: onnx.NodeProto, name: str) -> _Matrix:
        if name not in self._constants:
            raise _refused(f"node {node.name!r} ({node.op_type}) has weights that are not constant")
        return np.asarray(self._constants[name], np.float32)


def add_activation(model: onnx.ModelProto, logits: str = "logits") -> onnx.ModelProto:
    """Return the model with one more output: where the evidence for each logit lies.

    Parameters
    ----------
    model : onnx.ModelProto
        A classifier in fp32, its shapes inferred, from `engines.graph.model.parse_model`. It is
        left as it is.
    logits : str
        Its output, float32 (n, outputs).

    Returns
    -------
    onnx.ModelProto
        With the further output `ACTIVATION`, float32 (n, outputs, h, w), at the resolution of the
        maps that are pooled. The other outputs are unchanged.

    Raises
    ------
    GraphError
        If there is no such output, or its head is of neither kind; the message names the node.
    """
    if logits not in {output.name for output in model.graph.output}:
        raise _refused(f"the model has no output {logits!r}")
    maps, linear = _Walk(model).head(logits)
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    graph = opened.graph
    if linear.weights is None and linear.bias is None:
        graph.node.append(helper.make_node("Identity", [maps], [ACTIVATION], "activation_out"))
    else:
        graph.node.append(_weighed(graph, maps, linear))
    # The sizes are left open: they are inferred from the maps.
    graph.output.append(
        helper.make_tensor_value_info(ACTIVATION, TensorProto.FLOAT, [None, None, None, None])
    )
    return check_result(opened, "activation")


def _weighed(graph: onnx.GraphProto, maps: str, linear: _Linear) -> onnx.NodeProto:
    """Add the linear layers' weights as a convolution of one place by one."""
    weights, bias = linear.weights, linear.bias
    if weights is None:
        assert bias is not None  # noqa: S101  # the caller asked
        weights = np.eye(len(bias), dtype=np.float32)
    kernel = np.ascontiguousarray(weights.T[:, :, None, None], np.float32)
    graph.initializer.append(numpy_helper.from_array(kernel, _WEIGHTS))
    inputs = [maps, _WEIGHTS]
    if bias is not None:
        graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), _BIAS))
        inputs.append(_BIAS)
    return helper.make_node("Conv", inputs, [ACTIVATION], "activation_out", kernel_shape=[1, 1])


def _refused(why: str) -> GraphError:
    return GraphError(
        f"No activation map can be made: {why}. A map needs a head that pools its feature maps by "
        "their mean or by their own softmax and is linear after that."
    )
