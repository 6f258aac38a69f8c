"""A network of comparisons and whole-volume sums: its fp16 form, and why it has none in int8."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import change_model, change_samples, small_graph
from onnx import TensorProto, helper

from engines.graph.errors import NotOffered
from engines.graph.fp16 import to_fp16
from engines.graph.int8 import Calibrator, to_int8
from engines.graph.model import element_types, parse_model
from engines.graph.observe import run
from engines.graph.samples import Feeds


def test_what_overflows_fp16_goes_from_one_node_in_fp32_to_the_next_unrounded() -> None:
    """A cast of the graph's own (from a comparison) gives fp16 like all around it."""
    model = parse_model(
        small_graph(
            [
                helper.make_node("Greater", ["x", "zero"], ["found"], name="found"),
                helper.make_node("Cast", ["found"], ["ones"], name="own", to=TensorProto.FLOAT),
                helper.make_node("Mul", ["ones", "large"], ["a"], name="up"),
                helper.make_node("Add", ["a", "large"], ["b"], name="on"),
                helper.make_node("Div", ["b", "large"], ["c"], name="down"),
                helper.make_node("Mul", ["c", "ones"], ["logits"], name="last"),
            ],
            {"large": np.array([1e6], np.float32), "zero": np.array([0], np.float32)},
        ).SerializeToString(),
        "counting.onnx",
    )
    samples: list[Feeds] = [{"x": np.array([[-1, 1, 2, -2]], np.float32)}]
    half = to_fp16(model, samples)
    assert {item.node for item in half.kept} == {"up", "on", "down"}
    assert run(half.model, samples)[0]["logits"].tolist() == [[0, 2, 2, 0]]
    cast = next(node for node in half.model.graph.node if node.name == "own")
    assert element_types(half.model)[cast.output[0]] == TensorProto.FLOAT16


def test_a_network_that_counts_a_whole_volume_has_an_fp16_form_that_agrees() -> None:
    model, samples = change_model(), change_samples()
    half = to_fp16(model, samples).model
    ours, theirs = (run(one, samples)[0]["scores"].argmax(1) for one in (half, model))
    assert theirs.any()
    assert (ours == theirs).mean() > 0.999


@pytest.mark.parametrize("calibrator", Calibrator)
def test_int8_is_not_offered_where_it_would_do_none_of_the_work(calibrator: Calibrator) -> None:
    with pytest.raises(NotOffered, match="every convolution and matrix product stays in fp32"):
        to_int8(change_model(), change_samples(), calibrator)
