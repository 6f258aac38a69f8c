"""An ONNX file is read as TensorRT and ONNX Runtime read it, and what is wrong names the node."""

from __future__ import annotations

import pytest
from graphs import small_graph
from onnx import helper

from engines.graph.errors import GraphError
from engines.graph.model import parse_model


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (("Relu", ["nothing"]), "input 'nothing' of node: name: lost OpType: Relu is not output"),
        (("Guess", ["x"]), "No Op registered for Guess with domain_version of 17: .*Name: lost"),
    ],
)
def test_a_graph_that_is_not_valid_names_the_node(node: tuple[str, list[str]], says: str) -> None:
    broken = small_graph([helper.make_node(*node, ["logits"], name="lost")])
    with pytest.raises(GraphError, match=rf"^broken.onnx: not valid ONNX: .*{says}"):
        parse_model(broken.SerializeToString(), "broken.onnx")


def test_an_output_without_a_shape_gets_the_one_that_follows() -> None:
    model = small_graph([helper.make_node("Relu", ["x"], ["logits"])])
    model.graph.output[0].type.tensor_type.ClearField("shape")
    (output,) = parse_model(model.SerializeToString(), "small.onnx").graph.output
    first, second = output.type.tensor_type.shape.dim
    assert (first.dim_param, second.dim_value) == ("n", 4)
