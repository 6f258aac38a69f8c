"""Who makes a tensor of a graph, who reads it, and what nobody reads any more."""

from __future__ import annotations

import onnx


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
    used = {name for node in graph.node for name in node.input}
    used.update(output.name for output in graph.output)
    left = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(left)
