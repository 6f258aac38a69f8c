"""The evidence behind a logit is brought out of the graph, and its pool is the logit."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines import load_package, shipped_packages
from engines.graph.activation import ACTIVATION, add_activation
from engines.graph.errors import GraphError
from engines.graph.model import parse_model
from engines.graph.observe import run

CHANNELS, OUTPUTS, SIDE = 4, 3, 8
RNG = np.random.default_rng(5)


def classifier(*head: onnx.NodeProto, **constants: NDArray[np.generic]) -> onnx.ModelProto:
    """Return a network of one convolution, `features`, and the head that is given."""
    kernel = RNG.normal(size=(CHANNELS, 1, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "kernel"], ["seen"], "conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["seen"], ["features"], "relu"),
            *head,
        ],
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", "outputs"])],
        [
            numpy_helper.from_array(kernel, "kernel"),
            *(numpy_helper.from_array(value, name) for name, value in constants.items()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return parse_model(model.SerializeToString(), "classifier")


def node(op: str, inputs: list[str], outputs: list[str], **set_to: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs, outputs, f"{op}-{outputs[0]}", **set_to)


def images() -> NDArray[np.float32]:
    return RNG.random((2, 1, SIDE, SIDE), np.float32)


def weights(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(size=shape).astype(np.float32)


def gap_gemm() -> onnx.ModelProto:
    return classifier(
        node("GlobalAveragePool", ["features"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("Gemm", ["flat", "w", "b"], ["logits"], transB=1),
        w=weights(OUTPUTS, CHANNELS),
        b=weights(OUTPUTS),
    )


def mean_matmul_add() -> onnx.ModelProto:
    return classifier(
        node("ReduceMean", ["features", "axes"], ["pooled"], keepdims=0),
        node("MatMul", ["pooled", "w"], ["weighed"]),
        node("Add", ["weighed", "b"], ["logits"]),
        axes=np.array([2, 3]),
        w=weights(CHANNELS, OUTPUTS),
        b=weights(OUTPUTS),
    )


def two_layers() -> onnx.ModelProto:
    return classifier(
        node("ReduceMean", ["features", "axes"], ["pooled"], keepdims=0),
        node("Gemm", ["pooled", "w1", "b1"], ["hidden"], alpha=0.5),
        node("Dropout", ["hidden"], ["kept"]),
        node("Gemm", ["kept", "w2", "b2"], ["logits"], beta=2.0),
        axes=np.array([-1, -2]),
        w1=weights(CHANNELS, 5),
        b1=weights(5),
        w2=weights(5, OUTPUTS),
        b2=weights(OUTPUTS),
    )


def mean_of_maps() -> onnx.ModelProto:
    return classifier(
        node("Conv", ["features", "w"], ["evidence"]),
        node("GlobalAveragePool", ["evidence"], ["pooled"]),
        node("Flatten", ["pooled"], ["logits"]),
        w=weights(OUTPUTS, CHANNELS, 1, 1),
    )


@pytest.mark.parametrize("make", [gap_gemm, mean_matmul_add, two_layers, mean_of_maps])
def test_the_mean_of_the_activation_is_the_logit(make) -> None:  # type: ignore[no-untyped-def]
    (found,) = run(add_activation(make()), [{"image": images()}])
    assert found[ACTIVATION].shape == (2, OUTPUTS, SIDE, SIDE)
    assert found[ACTIVATION].mean(axis=(2, 3)) == pytest.approx(found["logits"], abs=1e-5)


def test_evidence_that_is_pooled_by_its_own_softmax_comes_out_as_it_is() -> None:
    model = classifier(
        node("Conv", ["features", "w"], ["evidence"]),
        node("Reshape", ["evidence", "shape"], ["flat"]),
        node("Mul", ["flat", "sharpness"], ["sharp"]),
        node("Softmax", ["sharp"], ["share"], axis=2),
        node("Mul", ["share", "flat"], ["weighed"]),
        node("ReduceSum", ["weighed", "axis"], ["logits"], keepdims=0),
        w=weights(OUTPUTS, CHANNELS, 1, 1),
        shape=np.array([0, 0, -1]),
        sharpness=np.array(2.0, np.float32),
        axis=np.array([2]),
    )
    (found,) = run(add_activation(model), [{"image": images()}])
    flat = found[ACTIVATION].reshape(2, OUTPUTS, -1)
    share = np.exp(2 * flat) / np.exp(2 * flat).sum(axis=2, keepdims=True)
    assert (share * flat).sum(axis=2) == pytest.approx(found["logits"], abs=1e-5)


def test_the_model_given_is_left_as_it_is_and_its_outputs_are_unchanged() -> None:
    model, feeds = gap_gemm(), {"image": images()}
    before = model.SerializeToString()
    opened = add_activation(model)
    assert model.SerializeToString() == before
    (plain,), (both,) = run(model, [feeds]), run(opened, [feeds])
    assert np.array_equal(plain["logits"], both["logits"])


def test_a_hidden_layer_that_is_not_linear_is_named() -> None:
    model = classifier(
        node("ReduceMean", ["features", "axes"], ["pooled"], keepdims=0),
        node("Relu", ["pooled"], ["hidden"]),
        node("MatMul", ["hidden", "w"], ["logits"]),
        axes=np.array([2, 3]),
        w=weights(CHANNELS, OUTPUTS),
    )
    with pytest.raises(GraphError, match=r"'Relu-hidden' \(Relu\) comes before any pool"):
        add_activation(model)


def test_a_model_without_a_pool_is_refused() -> None:
    model = classifier(
        node("Reshape", ["features", "shape"], ["flat"]),
        node("MatMul", ["flat", "w"], ["logits"]),
        shape=np.array([0, -1]),
        w=weights(CHANNELS * SIDE * SIDE, OUTPUTS),
    )
    with pytest.raises(GraphError, match=r"\(Relu\) comes before any pool"):
        add_activation(model)


def test_an_output_that_is_not_there_is_named() -> None:
    with pytest.raises(GraphError, match="no output 'scores'"):
        add_activation(gap_gemm(), "scores")


SHIPPED = sorted(path.parent for path in shipped_packages().glob("*/model.toml"))


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_every_classifier_that_ships_shows_where_it_sees(folder) -> None:  # type: ignore[no-untyped-def]
    package = load_package(folder)
    if package.volumes:
        pytest.skip("it segments: its answer is a map already")
    spec = package.input
    opened = add_activation(parse_model(package.model.read_bytes(), folder.name))
    feeds = {spec.tensor: RNG.random((1, spec.channels, *spec.sizes), np.float32)}
    (found,) = run(opened, [feeds])
    activation, logits = found[ACTIVATION], found[package.output.tensor]
    assert activation.shape[:2] == logits.shape
    # A mean of the map, weighed or not, lies between its least and its greatest value.
    flat = activation.reshape(*logits.shape, -1)
    assert np.all(flat.min(axis=2) <= logits + 1e-4)
    assert np.all(logits <= flat.max(axis=2) + 1e-4)
