"""A vision transformer in fewer bits, as torch exports it; TensorRT takes what comes of it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import transformer
from onnx import TensorProto

from engines.graph.errors import GraphError, NotOffered
from engines.graph.fp16 import to_fp16
from engines.graph.int8 import Calibrator, to_int8
from engines.graph.model import parse_model
from engines.graph.observe import run
from engines.graph.precision_report import node_precisions
from engines.graph.samples import Feeds
from engines.graph.twin import cpu_twin


def _samples() -> list[Feeds]:
    rng = np.random.default_rng(1)
    return [{"x": rng.random((2, 3, 8, 8)).astype(np.float32)} for _ in range(3)]


def _model(opset: int = 17) -> onnx.ModelProto:
    return parse_model(transformer(opset=opset).SerializeToString(), "transformer.onnx")


def _precisions(model: onnx.ModelProto) -> dict[str, str]:
    return {one.node: one.precision for one in node_precisions(model)}


def _apart(made: onnx.ModelProto, model: onnx.ModelProto) -> float:
    pairs = zip(run(made, _samples()), run(model, _samples()), strict=True)
    return max(float(np.abs(ours["logits"] - theirs["logits"]).max()) for ours, theirs in pairs)


def test_it_goes_to_fp16_around_its_softmax_and_its_normalisation() -> None:
    model = _model()
    half = to_fp16(model, _samples())
    assert {one.node for one in half.kept} == {"norm", "share"}
    found = _precisions(half.model)
    assert {name for name, precision in found.items() if precision == "fp32"} == {"norm", "share"}
    assert _apart(half.model, model) < 0.01


def test_in_int8_no_constant_but_a_weight_is_in_bytes() -> None:
    """TensorRT's builder refuses a graph with a bias or the factors of a GELU in bytes."""
    model = _model()
    quantized = to_int8(model, _samples(), Calibrator.MINMAX)
    in_bytes = {
        one.name for one in quantized.graph.initializer if one.data_type == TensorProto.INT8
    }
    weights = {name.removesuffix("_quantized") for name in in_bytes if name.endswith("_quantized")}
    assert {"query.w", "key.w", "project.w", "wide.w", "narrow.w"} <= weights
    assert not weights & {"query.b", "token", "places", "nothing", "root", "unity", "half"}
    found = _precisions(quantized)
    assert {found[f"{name}.mul"] for name in ("query", "project", "wide", "narrow")} == {"int8"}
    assert _apart(cpu_twin(quantized), model) < 0.1


def test_an_opset_that_onnx_runtime_cannot_quantize_in_is_named_with_the_way_out() -> None:
    model = _model(23)
    assert _apart(to_fp16(model, _samples()).model, model) < 0.01
    with pytest.raises(GraphError, match=r"has no QuantizeLinear of opset 23.*opset 22 or lower"):
        to_int8(model, _samples(), Calibrator.MINMAX)


def test_what_is_quantized_already_is_served_as_it_is() -> None:
    quantized = to_int8(_model(), _samples(), Calibrator.MINMAX)
    with pytest.raises(NotOffered, match=r"quantized already.*fp32 leaves its bytes as they are"):
        to_int8(quantized, _samples(), Calibrator.MINMAX)
    with pytest.raises(NotOffered, match="quantized already"):
        to_fp16(quantized, _samples())
