"""Graphs to convert and to build: the shipped model, two that nobody here made, and small ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines import load_package, shipped_packages
from engines.graph.model import parse_model
from engines.graph.samples import Feeds, check_samples
from engines.runtime.protocol import Array

SHIPPED = load_package(shipped_packages() / "head-ct-hemorrhage")
CHANGE = load_package(shipped_packages() / "brain-flair-change")
_SHARED = Path(__file__).parents[2] / "shared" / "models"
MESHNETS = ("meshnet-brain-tissue.onnx", "meshnet-brain-structures.onnx")


def shipped_model() -> onnx.ModelProto:
    return parse_model(SHIPPED.model.read_bytes(), "model.onnx")


def shipped_samples() -> list[Feeds]:
    return check_samples(SHIPPED)


def change_model() -> onnx.ModelProto:
    return parse_model(CHANGE.model.read_bytes(), "model.onnx")


def change_samples() -> list[Feeds]:
    return check_samples(CHANGE, batch=1)


def meshnet_file(name: str) -> Path:
    file = _SHARED / name
    if not file.is_file():
        pytest.skip(f"{file} is not here")
    return file


def meshnet(name: str) -> onnx.ModelProto:
    file = meshnet_file(name)
    return parse_model(file.read_bytes(), name)


def blobs(count: int = 2, size: int = 24) -> list[Feeds]:
    """Smooth volumes within 0..1, float32 (1, 1, size, size, size)."""
    rng = np.random.default_rng(7)
    axis = np.linspace(-1, 1, size)
    radius = np.sqrt(sum(grid**2 for grid in np.meshgrid(axis, axis, axis, indexing="ij")))
    return [
        {
            "t1": np.clip(
                np.exp(-((radius * rng.uniform(1, 2)) ** 2)) + rng.normal(0, 0.05, radius.shape),
                0,
                1,
            ).astype(np.float32)[None, None]
        }
        for _ in range(count)
    ]


def small_graph(
    nodes: list[onnx.NodeProto],
    weights: dict[str, Array] | None = None,
    *,
    shape: tuple[int | str, ...] = ("n", 4),
    out: tuple[int | str, ...] = ("n", 4),
    opset: int = 17,
    domain: str | None = None,
) -> onnx.ModelProto:
    """A graph from ``x`` to ``logits``, both float32."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    if domain is not None:
        opsets.append(helper.make_opsetid(domain, 1))
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def transformer(*, opset: int = 17, side: int = 8) -> onnx.ModelProto:
    """A vision transformer of one block, as torch exports it: patches, a token, attention, GELU."""
    rng = np.random.default_rng(0)
    width, patch = 8, 4

    def normal(*shape: int) -> Array:
        return rng.normal(scale=0.3, size=shape).astype(np.float32)

    def weighed(source: str, name: str) -> list[onnx.NodeProto]:
        # A linear layer: the bias comes first, as the older exporter writes it.
        return [
            helper.make_node("MatMul", [source, f"{name}.w"], [f"{name}.m"], f"{name}.mul"),
            helper.make_node("Add", [f"{name}.b", f"{name}.m"], [name], f"{name}.add"),
        ]

    nodes = [
        helper.make_node("Conv", ["x", "patch"], ["map"], "patches", strides=[patch, patch]),
        helper.make_node("Reshape", ["map", "rows"], ["flat"], "flat"),
        helper.make_node("Transpose", ["flat"], ["patched"], "turn", perm=[0, 2, 1]),
        helper.make_node("Slice", ["patched", "zero", "one", "one"], ["first"], "first"),
        helper.make_node("Mul", ["first", "nothing"], ["none"], "none"),
        helper.make_node("Add", ["none", "token"], ["leading"], "leading"),
        helper.make_node("Concat", ["leading", "patched"], ["tokens"], "tokens", axis=1),
        helper.make_node("Add", ["tokens", "places"], ["placed"], "placed"),
        helper.make_node("LayerNormalization", ["placed", "scale", "shift"], ["even"], "norm"),
        *weighed("even", "query"),
        *weighed("even", "key"),
        helper.make_node("Transpose", ["key"], ["turned"], "turned", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["query", "turned"], ["score"], "score"),
        helper.make_node("Softmax", ["score"], ["share"], "share", axis=-1),
        helper.make_node("MatMul", ["share", "even"], ["mixed"], "mixed"),
        *weighed("mixed", "project"),
        helper.make_node("Add", ["placed", "project"], ["joined"], "joined"),
        *weighed("joined", "wide"),
        helper.make_node("Div", ["wide", "root"], ["unit"], "unit"),
        helper.make_node("Erf", ["unit"], ["erf"], "erf"),
        helper.make_node("Add", ["erf", "unity"], ["raised"], "raised"),
        helper.make_node("Mul", ["wide", "raised"], ["gated"], "gated"),
        helper.make_node("Mul", ["gated", "half"], ["gelu"], "gelu"),
        *weighed("gelu", "narrow"),
        helper.make_node("ReduceMean", ["narrow"], ["mean"], "mean", axes=[1], keepdims=0)
        if opset < 18
        else helper.make_node("ReduceMean", ["narrow", "one"], ["mean"], "mean", keepdims=0),
        helper.make_node("Gemm", ["mean", "head", "bias"], ["logits"], "head"),
    ]
    wide = {"query": 8, "key": 8, "project": 8, "wide": 16}
    weights = {
        "patch": normal(width, 3, patch, patch),
        "rows": np.array([0, width, -1], np.int64),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "nothing": np.array([0], np.float32),
        "token": normal(1, 1, width),
        "places": normal(1, (side // patch) ** 2 + 1, width),
        "scale": np.ones(width, np.float32),
        "shift": np.zeros(width, np.float32),
        **{f"{name}.w": normal(width, to) for name, to in wide.items()},
        **{f"{name}.b": normal(to) for name, to in wide.items()},
        "narrow.w": normal(16, width),
        "narrow.b": normal(width),
        **{
            name: np.array(value, np.float32)
            for name, value in {"root": 2**0.5, "unity": 1, "half": 0.5}.items()
        },
        "head": normal(width, 3),
        "bias": normal(3),
    }
    return small_graph(nodes, weights, shape=("n", 3, side, side), out=("n", 3), opset=opset)


def detector(batch: int | str = "n") -> onnx.ModelProto:
    """The places of a slice that are bright enough, a row of four numbers each."""
    return small_graph(
        [
            helper.make_node("Greater", ["x", "limit"], ["bright"], "bright"),
            helper.make_node("NonZero", ["bright"], ["found"], "find"),
            helper.make_node("Transpose", ["found"], ["rows"], "turn"),
            helper.make_node("Cast", ["rows"], ["logits"], "real", to=TensorProto.FLOAT),
        ],
        {"limit": np.array([2], np.float32)},
        shape=(batch, 1, 8, 8),
        out=("found", 4),
    )
