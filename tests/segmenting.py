"""A model package that segments volumes, small enough to know every voxel of its answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines import ModelPackage, load_package
from engines.package import digest_of

TEXT = """
[model]
name = "brightness"
version = "1.0.0"
sha256 = "{digest}"
licence = "Apache-2.0"
intended_use = "tests"
limits = "tests; not for diagnosis"
training_data = "none"

[input]
tensor = "volume"
layout = "NCDHW"
depth = 16
height = 16
width = 16
spacing_mm = [2.0, 1.0, 1.0]
axes = "LIA"
normalise = "percentile"
percentiles = [2, 98]

[output]
kind = "segmentation"
tensor = "scores"

[[routes]]
modality = "MR"
body_parts = ["BRAIN"]

[[finding]]
code = {{ scheme = "99TEST", value = "GREY", meaning = "Grey voxels" }}
label = "Grey"
classes = [1]
urgency = "routine"

[[finding]]
code = {{ scheme = "99TEST", value = "SEEN", meaning = "Grey and white voxels" }}
label = "Seen"
classes = [1, 2]
flag_above_ml = 5.0
urgency = "urgent"

[aggregate]
kind = "class_volume"

[checks]
parity_tolerance = 0.01
check_set = "check.npz"
"""


def brightness_model(steps: tuple[float, ...] = (0, 2, 4)) -> onnx.ModelProto:
    """Return a network whose class is 0 up to a voxel of 0.3, 1 up to 0.7, 2 above.

    With other `steps` it draws the lines elsewhere.
    """
    weights = np.array(steps, np.float32).reshape(3, 1, 1, 1, 1)
    bias = np.array([0, -0.6, -2], np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["volume", "weights", "bias"], ["scores"], "classes")],
        "brightness",
        [helper.make_tensor_value_info("volume", TensorProto.FLOAT, ["n", 1, "d", "h", "w"])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3, "d", "h", "w"])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


def write_brightness(folder: Path, steps: tuple[float, ...] = (0, 2, 4)) -> Path:
    """Write the package into a new folder and return it. Its check set is a crop."""
    folder.mkdir(parents=True)
    onnx.save(brightness_model(steps), folder / "model.onnx")
    volume = np.linspace(0, 1, 8**3, dtype=np.float32).reshape(1, 1, 8, 8, 8)
    lines = zip(steps, (0, -0.6, -2), strict=True)
    scores = np.concatenate([np.float32(a) * volume + np.float32(b) for a, b in lines], axis=1)
    np.savez(folder / "check.npz", volume=volume, scores=scores)
    text = TEXT.format(digest=digest_of(folder / "model.onnx"))
    (folder / "model.toml").write_text(text, encoding="utf-8")
    return folder


def brightness(folder: Path) -> ModelPackage:
    """Write the package and read it."""
    return load_package(write_brightness(folder))
