"""Where a graph of another precision leaves FP32 is told by the node that adds to it."""

from __future__ import annotations

import numpy as np
import onnx
from graphs import small_graph
from onnx import helper

from engines.graph.drift import drift
from engines.graph.model import parse_model
from engines.graph.samples import Feeds

CHAIN = [
    helper.make_node("Add", ["x", "one"], ["a"], name="first"),
    helper.make_node("Mul", ["a", "two"], ["b"], name="second"),
    helper.make_node("Relu", ["b"], ["c"], name="third"),
    helper.make_node("Mul", ["c", "two"], ["logits"], name="last"),
]
SAMPLES: list[Feeds] = [{"x": np.arange(1, 9, dtype=np.float32).reshape(2, 4)}]


def chain(one: float = 1.0, two: float = 2.0) -> onnx.ModelProto:
    weights = {"one": np.array(one, np.float32), "two": np.array(two, np.float32)}
    return parse_model(small_graph(CHAIN, weights).SerializeToString(), "chain.onnx")


def test_the_node_that_adds_most_comes_first_and_those_after_it_add_nothing() -> None:
    found = drift(chain(), chain(one=1.5), SAMPLES)
    assert (found[0].node, found[0].op) == ("first", "Add")
    assert found[0].added == found[0].apart > 0.01
    assert all(abs(other.added) < 1e-6 for other in found[1:])
    assert all(abs(other.apart - found[0].apart) < 1e-6 for other in found[1:])


def test_each_that_adds_is_told_with_its_own_share() -> None:
    found = drift(chain(), chain(two=2.2), SAMPLES)
    assert [one.node for one in found[:2]] == ["last", "second"]
    np.testing.assert_allclose([one.apart for one in found[:2]], [0.21, 0.10], rtol=1e-5)
    np.testing.assert_allclose([one.added for one in found[:2]], [0.11, 0.10], rtol=1e-5)
    assert str(found[1]) == "'second' (Mul) adds 10.0% and is 10.0% apart"


def test_the_same_graph_is_nowhere_apart() -> None:
    assert {one.apart for one in drift(chain(), chain(), SAMPLES)} == {0.0}


def test_a_tensor_that_the_other_graph_does_not_have_passes_on_what_came_to_it() -> None:
    other = chain(one=1.5)
    for node in other.graph.node:
        for names in (node.input, node.output):
            names[:] = ["renamed" if name == "b" else name for name in names]
    found = drift(chain(), other, SAMPLES)
    assert "second" not in {one.node for one in found}
    assert found[0].node == "first"
    assert all(abs(one.added) < 1e-6 for one in found[1:])
