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
