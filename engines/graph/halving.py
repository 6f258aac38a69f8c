"""Which tensors of a graph become float16, and the casts between them and the others.

A node computes in half precision where it is allowed to and where ONNX has that form of it (its
schema says so). Each tensor then has the type of the node that makes it, and whoever wants the
other type reads it through a cast, one for all. What two nodes in fp32 hand each other is never
rounded in between.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import TensorProto, defs, helper, numpy_helper

from engines.graph.model import element_types
from engines.graph.wiring import captured, drop_unread, still

_HALF = "tensor(float16)"
_FULL = "tensor(float)"
_OWN_TYPE = frozenset({"ConstantOfShape", "EyeLike", "RandomNormal", "RandomUniform"})
"""What has an output type of its own, which no input gives it; such are sizes and constants."""


def halved(model: onnx.ModelProto, kept: Collection[str]) -> onnx.ModelProto:
    """Return the graph in float16; inputs and outputs keep their types, the model is left as it is.

    Parameters
    ----------
    model : onnx.ModelProto
        From `engines.graph.model.parse_model`.
    kept : collection of str
        Names of nodes that stay in fp32.

    Returns
    -------
    onnx.ModelProto
        Without inferred types between the nodes.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    _Halving(result, kept).run()
    drop_unread(result.graph)
    del result.graph.value_info[:]
    return result


class _Halving:
    """One graph on its way; each float32 tensor is known by its name of before."""

    def __init__(self, model: onnx.ModelProto, kept: Collection[str]) -> None:
        self._graph = model.graph
        self._kept = kept
        self._opsets = {one.domain or "ai.onnx": one.version for one in model.opset_import}
        self._types = element_types(model)
        self._weights = {one.name: one for one in self._graph.initializer}
        # What must be there in float32 under its own name: outputs, and what a branch or a loop
        # reads from outside.
        self._pinned = {one.name for one in self._graph.output}
        self._pinned.update(name for node in self._graph.node for name in captured(node))
        # Sizes are reckoned there, which half precision rounds from 2048 on; and it is done once.
        self._still = still(self._graph)
        self._nodes: list[onnx.NodeProto] = []
        self._half: dict[str, str] = {}
        self._full: dict[str, str] = {}

    def run(self) -> None:
        """Rewrite the graph in place."""
        for name in (*(one.name for one in self._graph.input), *self._weights):
            if self._is_float(name):
                self._full[name] = name
        for node in self._graph.node:
            self._add(node)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)

    def _add(self, before: onnx.NodeProto) -> None:
        node = onnx.NodeProto()
        node.CopyFrom(before)
        halves = self._halves(node)
        for place, name in enumerate(node.input):
            if self._is_float(name):
                wanted = halves and _takes_half(self._schema(node), place, node.op_type)
                node.input[place] = self._as_half(name) if wanted else self._as_full(name)
        if halves and node.op_type == "Cast":
            next(one for one in node.attribute if one.name == "to").i = TensorProto.FLOAT16
        self._nodes.append(node)
        for place, name in enumerate(before.output):
            if not self._is_float(name):
                continue
            if not halves:
                self._full[name] = name
            elif name in self._pinned:
                node.output[place] = self._half[name] = f"{name}.half"
                self._full[name] = name
                self._cast(node.output[place], name, TensorProto.FLOAT)
            else:
                self._half[name] = name

    def _halves(self, node: onnx.NodeProto) -> bool:
        """Return whether a node is to compute in half precision."""
        made = [name for name in node.output if self._is_float(name)]
        schema = self._schema(node)
        if not made or schema is None or node.name in self._kept or made[0] in self._still:
            return False
        if node.op_type in _OWN_TYPE or any(one.HasField("g") for one in node.attribute):
            return False
        if node.op_type == "Cast":
            return True
        allowed = {one.type_param_str: one.allowed_type_strs for one in schema.type_constraints}
        places = (min(place, len(schema.outputs) - 1) for place in range(len(node.output)))
        return all(
            _HALF in allowed.get(schema.outputs[place].type_str, ())
            for place, name in zip(places, node.output, strict=True)
            if self._is_float(name)
        )

    def _schema(self, node: onnx.NodeProto) -> defs.OpSchema | None:
        version = self._opsets.get(node.domain or "ai.onnx")
        if version is None or not defs.has(node.op_type, node.domain):
            return None
        return defs.get_schema(node.op_type, version, node.domain)

    def _is_float(self, name: str) -> bool:
        return bool(name) and self._types.get(name) == TensorProto.FLOAT

    def _as_half(self, name: str) -> str:
        if name in self._half:
            return self._half[name]
        self._half[name] = f"{name}.half"
        if name in self._weights:
            with np.errstate(over="ignore"):  # what overflows is read by nodes in fp32
                half = numpy_helper.to_array(self._weights[name]).astype(np.float16)
            self._graph.initializer.append(numpy_helper.from_array(half, self._half[name]))
        else:
            self._cast(self._full[name], self._half[name], TensorProto.FLOAT16)
        return self._half[name]

    def _as_full(self, name: str) -> str:
        if name not in self._full:
            self._full[name] = f"{name}.full"
            self._cast(self._half[name], self._full[name], TensorProto.FLOAT)
        return self._full[name]

    def _cast(self, source: str, target: str, to: int) -> None:
        self._nodes.append(
            helper.make_node("Cast", [source], [target], name=f"{target}.cast", to=to)
        )


def _takes_half(schema: defs.OpSchema | None, place: int, operator: str) -> bool:
    """Return whether an input of a node in half precision is to be half as well."""
    if schema is None or (operator == "Resize" and place):  # the region and the scales of it
        return False
    formal = schema.inputs[min(place, len(schema.inputs) - 1)]
    if formal.type_str == _FULL:
        return False
    allowed = {one.type_param_str: one.allowed_type_strs for one in schema.type_constraints}
    return _HALF in allowed.get(formal.type_str, ())
