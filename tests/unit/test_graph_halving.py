"""fp16 where branches meet: each reader finds the type it takes, and no size is rounded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from graphs import small_graph
from onnx import TensorProto, helper

from engines.graph.fp16 import to_fp16
from engines.graph.model import element_types, parse_model
from engines.graph.observe import run
from engines.graph.precision_report import node_precisions
from engines.graph.samples import Feeds
from engines.runtime.protocol import Array

RNG = np.random.default_rng(0)


def _parsed(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, Array] | None = None,
    *,
    shape: tuple[int | str, ...] = ("n", 4),
    out: tuple[int | str, ...] = ("n", 4),
) -> onnx.ModelProto:
    made = small_graph(list(nodes), weights, shape=shape, out=out)
    return parse_model(made.SerializeToString(), "small.onnx")


def _normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def _precisions(model: onnx.ModelProto) -> dict[str, str]:
    return {one.node: one.precision for one in node_precisions(model)}


def test_a_tensor_that_is_an_output_and_goes_on_is_there_in_both_types() -> None:
    model = small_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["features"], "describe"),
            helper.make_node("MatMul", ["features", "v"], ["logits"], "judge"),
        ],
        {"w": _normal(4, 8), "v": _normal(8, 4)},
    )
    model.graph.output.append(
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ("n", 8))
    )
    samples: list[Feeds] = [{"x": _normal(2, 4)}]
    half = to_fp16(parse_model(model.SerializeToString(), "two.onnx"), samples).model
    assert _precisions(half) == {"describe": "fp16", "judge": "fp16"}
    assert {one.type.tensor_type.elem_type for one in half.graph.output} == {TensorProto.FLOAT}
    run(half, samples)


def test_sizes_reckoned_from_shapes_are_not_rounded() -> None:
    """2049 is no number of half precision."""
    model = _parsed(
        [
            helper.make_node("Shape", ["x"], ["sizes"], "sizes"),
            helper.make_node("Gather", ["sizes", "one"], ["wide"], "wide"),
            helper.make_node("Cast", ["wide"], ["real"], "real", to=TensorProto.FLOAT),
            helper.make_node("Mul", ["real", "whole"], ["kept"], "scale"),
            helper.make_node("Cast", ["kept"], ["end"], "back", to=TensorProto.INT64),
            helper.make_node("Slice", ["x", "zero", "end", "one"], ["cut"], "cut"),
            helper.make_node("Relu", ["cut"], ["logits"], "last"),
        ],
        {
            "one": np.array([1], np.int64),
            "zero": np.array([0], np.int64),
            "whole": np.array([1], np.float32),
        },
        shape=("n", "w"),
        out=("n", "v"),
    )
    samples: list[Feeds] = [{"x": np.ones((1, 2049), np.float32)}]
    half = to_fp16(model, samples).model
    assert run(half, samples)[0]["logits"].shape == (1, 2049)
    assert _precisions(half)["cut"] == "fp16"


def test_what_a_branch_reads_from_outside_stays_float32() -> None:
    inner = helper.make_graph(
        [helper.make_node("Mul", ["doubled", "weight"], ["inside"], "inside")],
        "yes",
        [],
        [helper.make_tensor_value_info("inside", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["doubled"], ["outside"], "outside")],
        "no",
        [],
        [helper.make_tensor_value_info("outside", TensorProto.FLOAT, None)],
    )
    model = _parsed(
        [
            helper.make_node("Add", ["x", "x"], ["doubled"], "double"),
            helper.make_node(
                "If", ["asked"], ["chosen"], "choose", then_branch=inner, else_branch=other
            ),
            helper.make_node("Relu", ["chosen"], ["logits"], "last"),
        ],
        {"asked": np.array(True), "weight": np.array([0.5], np.float32)},
    )
    samples: list[Feeds] = [{"x": _normal(2, 4)}]
    half = to_fp16(model, samples).model
    assert _precisions(half)["double"] == "fp16"
    expected = run(model, samples)[0]["logits"]
    np.testing.assert_allclose(run(half, samples)[0]["logits"], expected, atol=0.01)


def test_a_weight_that_both_kinds_of_node_read_is_there_in_both_types() -> None:
    model = _parsed(
        [
            helper.make_node("Mul", ["x", "w"], ["a"], "weigh"),
            helper.make_node("Pow", ["a", "w"], ["logits"], "raise"),
        ],
        {"w": np.array([2], np.float32)},
    )
    samples: list[Feeds] = [{"x": np.ones((1, 4), np.float32)}]
    half = to_fp16(model, samples).model
    assert _precisions(half) == {"weigh": "fp16", "raise": "fp32"}
    types = element_types(half)
    assert {types["w"], types["w.half"]} == {TensorProto.FLOAT, TensorProto.FLOAT16}
    np.testing.assert_allclose(run(half, samples)[0]["logits"], 4)


def test_a_constant_node_is_halved_like_a_weight() -> None:
    value = onnx.numpy_helper.from_array(_normal(4, 4))
    model = _parsed(
        [
            helper.make_node("Constant", [], ["w"], "weights", value=value),
            helper.make_node("MatMul", ["x", "w"], ["logits"], "weigh"),
        ]
    )
    half = to_fp16(model, [{"x": _normal(1, 4)}]).model
    assert [one.data_type for one in half.graph.initializer] == [TensorProto.FLOAT16]
