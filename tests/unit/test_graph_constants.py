"""A file may keep weights in half precision; conversions see them as the float32 they become."""

from __future__ import annotations

import numpy as np
from graphs import small_graph
from onnx import TensorProto, helper

from engines.graph.fp16 import to_fp16
from engines.graph.int8 import Calibrator, to_int8
from engines.graph.model import parse_model
from engines.graph.observe import run
from engines.graph.samples import Feeds


def test_weights_kept_in_half_precision_are_converted_like_any_others() -> None:
    stored = small_graph(
        [
            helper.make_node("Cast", ["stored"], ["wide"], name="widen", to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["x", "wide"], ["logits"], name="weigh"),
        ],
        {"stored": np.linspace(-2, 2, 12, dtype=np.float16).reshape(4, 3)},
        out=("n", 3),
    )
    model = parse_model(stored.SerializeToString(), "stored.onnx")
    samples: list[Feeds] = [{"x": np.ones((2, 4), np.float32)}]
    expected = run(model, samples)[0]["logits"]
    for made in (to_fp16(model, samples).model, to_int8(model, samples, Calibrator.MINMAX)):
        np.testing.assert_allclose(run(made, samples)[0]["logits"], expected, atol=0.05)
