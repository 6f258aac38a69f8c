"""An ONNX graph, read and checked before anything is done to it."""

from __future__ import annotations

import onnx
from google.protobuf.message import DecodeError
from onnx import checker, shape_inference

from engines.graph.errors import GraphError

_LONGEST_WORD = 400
LOWEST_OPSET = 13  # the first in which QuantizeLinear takes one scale per channel


def parse_model(content: bytes, source: str) -> onnx.ModelProto:
    """Read a model, check it, give every node a name and infer its shapes.

    Parameters
    ----------
    content : bytes
        The file, weights inside.
    source : str
        What to call it in an error.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    GraphError
        If it is not an ONNX model, is damaged or not valid ONNX, or is older than opset 13.
    """
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise GraphError(
            f"{source}: not an ONNX model, or damaged ({error}). Copy or export the file again."
        ) from error
    if not model.graph.node or not model.graph.input:
        raise GraphError(f"{source}: holds no network. Copy or export the file again.")
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    if opset < LOWEST_OPSET:
        raise GraphError(
            f"{source}: opset {opset} is older than {LOWEST_OPSET}. Export it again with a newer "
            "opset, or convert it with onnx.version_converter."
        )
    _name_nodes(model)
    try:
        if any(not value.type.tensor_type.HasField("shape") for value in model.graph.output):
            # The checker wants them; many exporters leave them to whoever reads the graph.
            model = shape_inference.infer_shapes(model)
        checker.check_model(model)
        return shape_inference.infer_shapes(model, check_type=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        raise GraphError(f"{source}: not valid ONNX: {_said(error)}") from error


def check_result(model: onnx.ModelProto, step: str) -> onnx.ModelProto:
    """Return a rewritten model with its types inferred anew, or say which step broke it.

    Raises
    ------
    GraphError
        If an operator meets types that it does not take.
    """
    try:
        checker.check_model(model)
        return shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        raise GraphError(
            f"The {step} graph is not valid: {_said(error)}. Serve this model in fp32."
        ) from error


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element type (`onnx.TensorProto.DataType`) of every tensor that is known."""
    graph = model.graph
    found = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        found[value.name] = value.type.tensor_type.elem_type
    return found


def _name_nodes(model: onnx.ModelProto) -> None:
    """Names are optional in ONNX, and repeat in some exports; here they tell nodes apart."""
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{number}"
        taken.add(node.name)


def _said(error: Exception) -> str:
    """Return what the checker said in one line: the node that it means stands in the second."""
    words = " ".join(str(error).replace("\n\n==> Context:", ":").split())
    return words[:_LONGEST_WORD] or type(error).__name__
