"""A graph in fewer bits is valid, says where it stays in fp32, and leaves the original alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from graphs import (
    MESHNETS,
    SHIPPED,
    blobs,
    meshnet,
    shipped_model,
    shipped_samples,
    small_graph,
)
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.graph.errors import GraphError
from engines.graph.fp16 import to_fp16
from engines.graph.int8 import Calibrator, to_int8
from engines.graph.model import element_types, parse_model
from engines.graph.observe import observe, run
from engines.graph.pooling import joined
from engines.graph.precision_report import classes, node_precisions, of_package, report
from engines.graph.samples import Feeds
from engines.graph.sensitive import overflowing, steep_or_summing, unquantized
from engines.graph.twin import cpu_twin


def test_fp16_keeps_inputs_and_outputs_in_float32_and_halves_the_weights() -> None:
    model = shipped_model()
    half = to_fp16(model, shipped_samples()).model
    for value in (*half.graph.input, *half.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    assert half.ByteSize() < 0.6 * model.ByteSize()
    precisions = Counter(item.precision for item in node_precisions(half) if item.op == "Conv")
    assert set(precisions) == {"fp16"}


def test_conversion_leaves_the_graph_it_was_given_alone() -> None:
    model = shipped_model()
    before = model.SerializeToString()
    to_fp16(model, shipped_samples())
    cpu_twin(to_int8(model, shipped_samples(), Calibrator.MINMAX))
    assert model.SerializeToString() == before


def test_a_softmax_stays_in_fp32() -> None:
    model = parse_model(
        small_graph(
            [
                helper.make_node("Relu", ["x"], ["a"], name="first"),
                helper.make_node("Softmax", ["a"], ["b"], name="soft", axis=1),
                helper.make_node("Relu", ["b"], ["logits"], name="last"),
            ]
        ).SerializeToString(),
        "soft.onnx",
    )
    half = to_fp16(model, [{"x": np.ones((1, 4), np.float32)}])
    assert [(item.node, item.reason) for item in half.kept] == [
        ("soft", "exponentiates or normalises")
    ]
    found = {item.node: item.precision for item in node_precisions(half.model)}
    assert found["soft"] == "fp32"
    assert found["first"] == "fp16"


@pytest.mark.parametrize(("side", "kept"), [(64, True), (8, False)])
def test_a_sum_over_many_elements_stays_in_fp32(side: int, kept: bool) -> None:
    model = parse_model(
        small_graph(
            [helper.make_node("GlobalAveragePool", ["x"], ["logits"], name="pool")],
            shape=("n", 2, "h", "w"),
            out=("n", 2, 1, 1),
        ).SerializeToString(),
        "pool.onnx",
    )
    seen = observe(model, [{"x": np.ones((3, 2, side, side), np.float32)}])
    found = steep_or_summing(model, seen)
    assert bool(found) is kept
    if kept:
        assert found[0].reason == "sums 4096 elements"
    assert steep_or_summing(model, {})[0].reason == "sums an unknown number of elements"


def test_what_multiplies_a_softmax_stays_out_of_int8() -> None:
    model = parse_model(
        small_graph(
            [
                helper.make_node("Softmax", ["x"], ["weight"], name="soft", axis=1),
                helper.make_node("Mul", ["x", "weight"], ["logits"], name="weigh"),
            ]
        ).SerializeToString(),
        "attention.onnx",
    )
    assert [item.node for item in unquantized(model, {})] == ["soft", "weigh"]


def _averaged(*, step: int, weight: NDArray[np.float32]) -> onnx.ModelProto:
    """An average of 2 x 2 by steps of `step`, then a convolution."""
    return parse_model(
        small_graph(
            [
                helper.make_node(
                    "AveragePool",
                    ["x"],
                    ["a"],
                    name="average",
                    kernel_shape=[2, 2],
                    strides=[step, step],
                ),
                helper.make_node("Conv", ["a", "w", "b"], ["logits"], name="mix"),
            ],
            {"w": weight, "b": np.arange(len(weight), dtype=np.float32)},
            shape=("n", weight.shape[1], "h", "w"),
            out=("n", len(weight), "p", "q"),
        ).SerializeToString(),
        "averaged.onnx",
    )


@pytest.mark.parametrize("side", [8, 9])
def test_an_average_and_the_convolution_after_it_are_one_with_the_same_result(side: int) -> None:
    rng = np.random.default_rng(0)
    model = _averaged(step=2, weight=rng.normal(size=(5, 3, 1, 1)).astype(np.float32))
    found = joined(model)
    assert [node.op_type for node in found.graph.node] == ["Conv"]
    feed: Feeds = {"x": rng.normal(size=(2, 3, side, side)).astype(np.float32)}
    np.testing.assert_allclose(
        run(found, [feed])[0]["logits"], run(model, [feed])[0]["logits"], atol=1e-5
    )


def test_averages_that_overlap_are_left_and_stay_out_of_int8() -> None:
    model = _averaged(step=1, weight=np.ones((2, 3, 1, 1), np.float32))
    assert joined(model) == model
    assert ("average", "averages by steps of one, which int8 makes slower") in [
        (item.node, item.reason) for item in unquantized(model, {})
    ]


def test_an_average_before_a_larger_convolution_is_left() -> None:
    model = _averaged(step=2, weight=np.ones((2, 3, 3, 3), np.float32))
    assert joined(model) == model


def _two_convolutions(channels: int) -> onnx.ModelProto:
    """Pixels beside themselves mirrored, convolved twice."""
    rng = np.random.default_rng(0)
    return parse_model(
        small_graph(
            [
                helper.make_node("Slice", ["x", "last", "first", "side", "back"], ["f"]),
                helper.make_node("Concat", ["x", "f"], ["both"], name="both", axis=1),
                helper.make_node("Conv", ["both", "w"], ["a"], name="stem"),
                helper.make_node("Relu", ["a"], ["b"], name="cut"),
                helper.make_node("Conv", ["b", "v"], ["logits"], name="deeper"),
            ],
            {
                "w": rng.normal(size=(6, 2 * channels, 3, 3)).astype(np.float32),
                "v": rng.normal(size=(3, 6, 3, 3)).astype(np.float32),
                **{
                    name: np.array([value], np.int64)
                    for name, value in {"last": -1, "first": -1000, "side": 3, "back": -1}.items()
                },
            },
            shape=("n", channels, "h", "w"),
            out=("n", 3, "p", "q"),
        ).SerializeToString(),
        "two.onnx",
    )


def test_what_sees_the_pixels_stays_out_of_int8_and_what_follows_does_not() -> None:
    model = _two_convolutions(channels=3)
    assert [(item.node, item.reason) for item in unquantized(model, {})] == [
        ("stem", "sees the pixels themselves"),
        ("cut", "cuts what was made of the pixels"),
    ]
    samples: list[Feeds] = [
        {"x": np.random.default_rng(1).normal(size=(1, 3, 9, 9)).astype(np.float32)}
    ]
    quantized = to_int8(model, samples, Calibrator.MINMAX)
    found = {item.node: item.precision for item in node_precisions(quantized)}
    assert [found[name] for name in ("stem", "cut", "deeper")] == ["fp32", "fp32", "int8"]


def test_a_picture_of_many_channels_is_quantized_like_any_features() -> None:
    assert unquantized(_two_convolutions(channels=5), {}) == ()


def test_what_overflows_on_the_samples_stays_in_fp32() -> None:
    model = parse_model(
        small_graph(
            [
                helper.make_node("Mul", ["x", "large"], ["a"], name="up"),
                helper.make_node("Mul", ["a", "small"], ["b"], name="down"),
                helper.make_node("Relu", ["b"], ["logits"], name="last"),
            ],
            {"large": np.array([1e4], np.float32), "small": np.array([1e-4], np.float32)},
        ).SerializeToString(),
        "steep.onnx",
    )
    samples: list[Feeds] = [{"x": np.full((1, 4), 100, np.float32)}]
    half = to_fp16(model, samples)
    assert {item.node for item in half.kept} == {"up", "down"}
    assert next(item.reason for item in half.kept if item.node == "up") == "reaches 1e+06"
    assert not overflowing(model, observe(model, [{"x": np.ones((1, 4), np.float32)}]))
    assert np.allclose(run(half.model, samples)[0]["logits"], 100)


@pytest.mark.parametrize("calibrator", Calibrator)
def test_int8_is_what_tensorrt_takes(calibrator: Calibrator) -> None:
    """Symmetric s8 with zero point 0, one scale per channel for weights, no quantized bias."""
    quantized = to_int8(shipped_model(), shipped_samples(), calibrator)
    constants = {tensor.name: tensor for tensor in quantized.graph.initializer}
    assert TensorProto.INT32 not in {tensor.data_type for tensor in constants.values()}
    for node in quantized.graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            point = constants[node.input[2]]
            assert point.data_type == TensorProto.INT8
            assert not numpy_helper.to_array(point).any()
    convolutions = [node for node in quantized.graph.node if node.op_type == "Conv"]
    kernels = {node.input[1] for node in convolutions} - set(constants)
    per_channel = [
        node for node in quantized.graph.node if node.output[0] in kernels and node.attribute
    ]
    assert len(per_channel) == len(kernels)
    left = {item.node for item in unquantized(shipped_model(), {}) if item.op == "Conv"}
    assert left
    for item in node_precisions(quantized):
        if item.op == "Conv":
            assert item.precision == ("fp32" if item.node in left else "int8")


def _both(quantized: onnx.ModelProto, samples: list[Feeds]) -> Iterator[tuple[Feeds, Feeds]]:
    """The outputs of the twin and of its s8 original, node by node as the graphs say."""
    yield from zip(
        run(cpu_twin(quantized), samples, fused=False),
        run(quantized, samples, fused=False),
        strict=True,
    )


@pytest.mark.parametrize("calibrator", Calibrator)
def test_the_cpu_twin_gives_the_very_same_bits(calibrator: Calibrator) -> None:
    samples = shipped_samples()
    quantized = to_int8(shipped_model(), samples, calibrator)
    twin = cpu_twin(quantized)
    types = element_types(twin)
    for node in twin.graph.node:
        if node.op_type == "QuantizeLinear":
            assert types[node.output[0]] == TensorProto.UINT8
    for ours, theirs in _both(quantized, samples):
        assert np.array_equal(ours["logits"], theirs["logits"])


@pytest.mark.parametrize("name", MESHNETS)
def test_the_cpu_twin_of_a_foreign_volume_model_gives_the_very_same_bits(name: str) -> None:
    samples = blobs()
    quantized = to_int8(meshnet(name), samples, Calibrator.MINMAX)
    for ours, theirs in _both(quantized, samples):
        assert np.array_equal(ours["logits"], theirs["logits"])


def test_a_relu_is_rounded_once_and_on_a_cpu_done_on_the_bytes() -> None:
    samples = shipped_samples()
    quantized = to_int8(shipped_model(), samples, Calibrator.PERCENTILE)
    makers = {name: node for node in quantized.graph.node for name in node.output}
    relus = [node for node in quantized.graph.node if node.op_type == "Relu"]
    assert {makers[node.input[0]].op_type for node in relus} == {"Conv", "Add"}
    twin = cpu_twin(quantized)
    steps = Counter(node.op_type for node in twin.graph.node)
    assert steps["Relu"] == 0
    assert steps["Clip"] == len(relus)


def test_a_relu_that_something_else_reads_stays_as_it_is() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 4, 1, 1)).astype(np.float32)
    model = parse_model(
        small_graph(
            [
                helper.make_node("Conv", ["x", "w"], ["a"], name="mix"),
                helper.make_node("Relu", ["a"], ["b"], name="cut"),
                helper.make_node("Conv", ["b", "w"], ["c"], name="again"),
                helper.make_node("Softmax", ["b"], ["d"], name="soft", axis=1),
                helper.make_node("Mul", ["c", "d"], ["logits"], name="weigh"),
            ],
            {"w": weight},
            shape=("n", 4, "h", "w"),
            out=("n", 4, "h", "w"),
        ).SerializeToString(),
        "forked.onnx",
    )
    samples: list[Feeds] = [
        {"x": np.random.default_rng(1).normal(size=(1, 4, 8, 8)).astype(np.float32)}
    ]
    quantized = to_int8(model, samples, Calibrator.MINMAX)
    for ours, theirs in _both(quantized, samples):
        assert np.array_equal(ours["logits"], theirs["logits"])


def test_a_graph_without_quantization_has_no_twin() -> None:
    with pytest.raises(GraphError, match="not an int8 graph"):
        cpu_twin(shipped_model())


def test_an_asymmetric_zero_point_has_no_twin() -> None:
    model = small_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "scale", "point"], ["q"], name="quantize"),
            helper.make_node("DequantizeLinear", ["q", "scale", "point"], ["logits"], name="back"),
        ],
        {"scale": np.array(0.1, np.float32), "point": np.array(3, np.int8)},
    )
    with pytest.raises(GraphError, match=r"'quantize'.*zero point of 0"):
        cpu_twin(model)


def test_the_report_names_every_step_and_its_cost() -> None:
    steps = report(shipped_model(), shipped_samples(), of_package(SHIPPED))
    assert [step.name for step in steps] == [
        "fp16",
        "int8 minmax",
        "int8 percentile",
        "int8 entropy",
    ]
    for step in steps:
        assert 0 <= step.mean <= step.worst <= 1
        assert str(step).startswith(step.name)
    # Entropy is left to the report: what it clips can cost more than it saves.
    assert max(step.worst for step in steps[:3]) < 0.1
    assert steps[1].counts()["int8"] > steps[0].counts().get("int8", 0)


@pytest.mark.parametrize("name", MESHNETS)
def test_a_foreign_volume_model_goes_to_fp16(name: str) -> None:
    samples, model = blobs(), meshnet(name)
    half = to_fp16(model, samples).model
    ours, theirs = classes(run(half, samples)[0]), classes(run(model, samples)[0])
    assert np.abs(ours - theirs).max() < 0.05


def test_every_calibrator_chooses_ranges_of_its_own() -> None:
    made = {
        to_int8(shipped_model(), shipped_samples(), calibrator).SerializeToString()
        for calibrator in Calibrator
    }
    assert len(made) == len(Calibrator)


def test_int8_without_samples_says_what_it_needs() -> None:
    with pytest.raises(GraphError, match="needs calibration inputs"):
        to_int8(shipped_model(), [], Calibrator.MINMAX)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no network"),
        (b"\x00\xff" * 500, "not an ONNX model|holds no network"),
        (SHIPPED.model.read_bytes()[:100_000], "not an ONNX model, or damaged"),
    ],
)
def test_what_is_no_model_is_refused_with_a_reason(content: bytes, says: str) -> None:
    with pytest.raises(GraphError, match=says) as refused:
        parse_model(content, "model.onnx")
    assert str(refused.value).startswith("model.onnx: ")


def test_an_old_opset_is_refused_with_a_way_out() -> None:
    old = small_graph([helper.make_node("Relu", ["x"], ["logits"])], opset=11)
    with pytest.raises(GraphError, match="opset 11 is older than 13"):
        parse_model(old.SerializeToString(), "old.onnx")


def test_nodes_without_a_name_get_one() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Relu", ["a"], ["logits"])]
    model: onnx.ModelProto = parse_model(small_graph(nodes).SerializeToString(), "small.onnx")
    assert [node.name for node in model.graph.node] == ["Relu_0", "Relu_1"]
