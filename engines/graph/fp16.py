"""fp16, written into the graph: half precision where it is safe, fp32 where it is not.

Inputs and outputs stay float32, so that a caller never knows the difference. ONNX Runtime's CPU
provider computes such a graph in fp32, so running it on a CPU shows that it is valid and says
nothing about its accuracy on a GPU; parity on the device does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from engines.graph.constants import widened
from engines.graph.errors import GraphError
from engines.graph.model import check_result
from engines.graph.observe import observe
from engines.graph.samples import Feeds
from engines.graph.sensitive import Kept, overflowing, steep_or_summing
from engines.graph.wiring import makers

_LARGEST = 65504.0  # the largest finite fp16


@dataclass(frozen=True, slots=True)
class HalfGraph:
    """A graph in fp16.

    Parameters
    ----------
    model : onnx.ModelProto
        Typed throughout: it builds in a strongly typed TensorRT network.
    kept : tuple of Kept
        What stayed in fp32 by the rule of `engines.graph.sensitive`.
    """

    model: onnx.ModelProto
    kept: tuple[Kept, ...]


def to_fp16(model: onnx.ModelProto, samples: Sequence[Feeds]) -> HalfGraph:
    """Convert a float32 graph to fp16.

    Parameters
    ----------
    model : onnx.ModelProto
        From `engines.graph.model.parse_model`; it is left as it is.
    samples : sequence of dict
        Inputs that show which values overflow; without any, every sum stays in fp32 and only the
        weights are asked.

    Returns
    -------
    HalfGraph

    Raises
    ------
    GraphError
        If onnxconverter-common is not installed, or the graph cannot be converted.
    """
    try:
        from onnxconverter_common import float16  # noqa: PLC0415  # only conversion needs it
    except ImportError as error:
        raise GraphError(
            f"fp16 needs onnxconverter-common ({error}). Install it with: "
            "pip install onnxconverter-common"
        ) from error
    model = widened(model)
    seen = observe(model, samples)
    kept = {item.node: item for item in overflowing(model, seen)}
    kept.update({item.node: item for item in steep_or_summing(model, seen)})
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        # The converter would raise every weight below 1e-7 to 1e-7; rounding to zero is nearer.
        converted = float16.convert_float_to_float16(
            copy,
            min_positive_val=0.0,
            max_finite_val=_LARGEST,
            keep_io_types=True,
            node_block_list=list(kept),
        )
    except (ValueError, KeyError, IndexError, RuntimeError) as error:
        raise GraphError(
            f"The graph cannot be converted to fp16: {error}. Serve this model in fp32."
        ) from error
    del converted.graph.value_info[:]  # some still say float32; they are inferred anew
    own = {node.name for node in model.graph.node}
    _halve_casts(converted, own - kept.keys())
    _join_kept(converted, own)
    _keep_outputs(converted, model)
    return HalfGraph(check_result(converted, "fp16"), tuple(kept.values()))


def _halve_casts(model: onnx.ModelProto, halved: Collection[str]) -> None:
    """Let casts of the graph's own give fp16 where all around them is, in place.

    The converter leaves their target as it was, and whoever reads them would meet two types.
    """
    for node in model.graph.node:
        if node.name in halved and _casts(node, TensorProto.FLOAT):
            next(item for item in node.attribute if item.name == "to").i = TensorProto.FLOAT16


def _join_kept(model: onnx.ModelProto, own: Collection[str]) -> None:
    """Take a tensor from one node in fp32 to another as it is, in place.

    The converter rounds what a node in fp32 gives to fp16 and back even where the next one is in
    fp32 too, and what overflows fp16 is infinite then.
    """
    graph = model.graph
    made = makers(graph)
    for node in graph.node:
        for place, name in enumerate(node.input):
            back = made.get(name)
            if back is None or back.name in own or not _casts(back, TensorProto.FLOAT):
                continue
            rounded = made.get(back.input[0])
            if rounded is None or rounded.name in own or not _casts(rounded, TensorProto.FLOAT16):
                continue
            node.input[place] = rounded.input[0]
    _drop_unread_casts(graph)


def _keep_outputs(model: onnx.ModelProto, original: onnx.ModelProto) -> None:
    """Let an output that a node in fp32 makes be what it was, in place.

    The converter rounds what such a node gives to fp16, and an output of the graph with it.
    """
    made = makers(model.graph)
    for output, before in zip(model.graph.output, original.graph.output, strict=True):
        last = made[output.name]
        if before.type.tensor_type.elem_type == TensorProto.FLOAT and _casts(
            last, TensorProto.FLOAT16
        ):
            next(item for item in last.attribute if item.name == "to").i = TensorProto.FLOAT
            output.CopyFrom(before)


def _drop_unread_casts(graph: onnx.GraphProto) -> None:
    read = Counter(_names_read(graph))
    read.update(output.name for output in graph.output)
    for node in reversed(list(graph.node)):  # against the flow: a cast may have fed another
        if node.op_type == "Cast" and not read[node.output[0]]:
            read[node.input[0]] -= 1
            graph.node.remove(node)


def _names_read(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield what each node reads, those of its branches and loops too."""
    for node in graph.node:
        yield from node.input
        for item in node.attribute:
            if item.type == onnx.AttributeProto.GRAPH:
                yield from _names_read(item.g)


def _casts(node: onnx.NodeProto, to: int) -> bool:
    return node.op_type == "Cast" and any(a.name == "to" and a.i == to for a in node.attribute)
