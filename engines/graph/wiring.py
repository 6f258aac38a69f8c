"""Who makes a tensor of a graph, who reads it, and what nobody reads any more."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

_SIZES = frozenset({"Shape", "Size"})


def makers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """Return the node that makes each tensor."""
    return {name: node for node in graph.node for name in node.output}


def readers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """Return the nodes that read each tensor; one that nobody reads is not in it."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def drop_unread(graph: onnx.GraphProto) -> None:
    """Throw out the constants that neither a node nor an output reads, in place."""
    used = {name for node in graph.node for name in (*node.input, *captured(node))}
    used.update(output.name for output in graph.output)
    left = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(left)


def captured(node: onnx.NodeProto) -> Iterator[str]:
    """Yield what the branches and loops of a node read; names of their own may be among it."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (output.name for output in graph.output)
            for inner in graph.node:
                yield from inner.input
                yield from captured(inner)


def still(graph: onnx.GraphProto) -> set[str]:
    """Return the tensors that depend on shapes and constants alone, whatever the input holds."""
    known = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in _SIZES or all(name in known for name in node.input if name):
            known.update(node.output)
    return known


def tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield the weights and constants of a graph, those of its branches and loops too."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                yield from tensors_of(inner)
