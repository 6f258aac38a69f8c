"""`scanside models build` as a stranger types it, with a classifier that nobody here knows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from terminal import Terminal, fresh

from edge.config import load_config
from edge.packages import Shelf
from engines import load_package
from engines.build.support import present_modules
from engines.cache import EngineKey
from engines.gpu import gpu_here

ANSWERS = """
[model]
licence = "MIT"
intended_use = "tests"
limits = "tests; not for diagnosis"
training_data = "none"
[input]
normalise = "windows"
windows = [[40, 80]]
neighbours = 0
[[routes]]
modality = "CT"
body_parts = ["KNEE"]
[[finding]]
code = { scheme = "99TEST", value = "KNEE", meaning = "Knee" }
label = "Knee"
output = 0
calibration = [1.0, 0.0]
threshold = 0.5
abstain = [0.45, 0.55]
urgency = "routine"
[aggregate]
kind = "max"
[checks]
parity_tolerance = 0.02
"""
needs_builder = pytest.mark.skipif(
    "tensorrt_rtx" not in present_modules() or gpu_here() is not None,
    reason="needs tensorrt_rtx (pip install tensorrt-rtx-cu13), and no GPU that would run it",
)


def knee(*, odd: bool) -> onnx.ModelProto:
    """Return a small classifier; an odd one takes a determinant, which no TensorRT does."""
    noise = np.random.default_rng(4)
    weights = {
        "kernel": noise.normal(size=(4, 1, 3, 3)).astype(np.float32),
        "square": np.array([-1, 2, 2], np.int64),
        "column": np.array([-1, 1], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["a"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["a"], ["b"], "pool"),
        helper.make_node("Reshape", ["b", "square"], ["c"], "fold"),
        helper.make_node("Det" if odd else "ReduceMax", ["c"], ["d"], "/head/last"),
        helper.make_node("Reshape", ["d", "column"], ["scores"], "unfold"),
    ]
    if not odd:
        nodes[3].attribute.extend(
            [helper.make_attribute("axes", [1, 2]), helper.make_attribute("keepdims", 0)]
        )
    graph = helper.make_graph(
        nodes,
        "knee",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 32, 32])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def scanside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return fresh(tmp_path, capsys)


def drafted(scanside: Terminal, folder: Path, *, odd: bool = False) -> Path:
    """Add the classifier; return the folder of its package."""
    onnx.save(knee(odd=odd), folder / "knee.onnx")
    (folder / "answers.toml").write_text(ANSWERS, encoding="utf-8")
    answers = ("--answers", str(folder / "answers.toml"))
    assert scanside("models add", str(folder / "knee.onnx"), *answers) == 0
    return Shelf.of(load_config(scanside.config)).own / "knee"


def with_checks(scanside: Terminal, folder: Path) -> None:
    images = np.random.default_rng(5).random((6, 1, 32, 32), np.float32)
    np.savez(folder / "images.npz", image=images)
    assert scanside("models checkset knee", str(folder / "images.npz")) == 0


def test_a_strangers_model_is_built_and_each_that_may_serve_has_its_command(
    scanside: Terminal, tmp_path: Path
) -> None:
    drafted(scanside, tmp_path)
    assert "Its check set is made of an npz that holds 'image' float32 [n, 1" in scanside.out
    assert "scanside models checkset knee FILE.npz" in scanside.out
    with_checks(scanside, tmp_path)
    assert scanside("models build knee --precision fp32 fp16") == 0
    told = scanside.out
    for precision in ("fp32", "fp16"):
        command = f"models activate knee --precision {precision} --runtime onnxruntime"
        assert f"scanside {command}" in told
        assert scanside(command) == 0


@needs_builder
def test_a_node_that_the_builder_does_not_take_is_named_and_the_cpu_serves(
    scanside: Terminal, tmp_path: Path
) -> None:
    package = drafted(scanside, tmp_path, odd=True)
    assert "does not take '/head/last' (Det)" in scanside.out
    with_checks(scanside, tmp_path)
    assert scanside("models build knee --precision fp32") == 0
    said = next(line for line in scanside.out.splitlines() if "does not take" in line)
    assert said.startswith(f"tensorrt_rtx fp32: {package / 'model.onnx'}: tensorrt_rtx 1.")
    assert said.endswith("does not take node '/head/last' (Det): UNSUPPORTED_NODE")
    assert "activate knee --precision fp32 --runtime onnxruntime" in scanside.out
    assert "--runtime tensorrt_rtx" not in scanside.out


def test_without_a_check_set_nothing_may_serve_and_the_command_for_it_is_told(
    scanside: Terminal, tmp_path: Path
) -> None:
    drafted(scanside, tmp_path)
    assert scanside("models build knee --precision fp32 int8") == 1
    assert "Type: scanside models checkset knee FILE" in scanside.out
    assert "None of them may serve here; what serves now stays." in scanside.out
    assert "models activate" not in scanside.out


def test_a_file_that_is_no_model_is_named_by_where_it_lies(
    scanside: Terminal, tmp_path: Path
) -> None:
    package = drafted(scanside, tmp_path)
    before = (package / "model.onnx").read_bytes()
    (package / "model.onnx").write_bytes(before[:300])
    toml = (package / "model.toml").read_text(encoding="utf-8")
    whole, cut = (hashlib.sha256(content).hexdigest() for content in (before, before[:300]))
    (package / "model.toml").write_text(toml.replace(whole, cut), encoding="utf-8")
    assert scanside("models build knee --precision fp32") == 1
    assert "scanside-build-" not in scanside.out
    if "tensorrt_rtx" in present_modules():
        assert f"{package / 'model.onnx'}: not an ONNX model, or damaged" in scanside.out


def test_what_a_builder_said_is_kept_with_its_engine_and_shown(
    scanside: Terminal, tmp_path: Path
) -> None:
    package = load_package(drafted(scanside, tmp_path))
    store = Shelf.of(load_config(scanside.config)).store
    key = EngineKey(package.digest, "tensorrt 10.3.0", "Orin", "SM87", "fp16", "1", "0.1.0")
    warning = "The timing cache is of another GPU or version; it is begun anew."
    store.cache.get_or_build(key, lambda path: path.write_bytes(b"x"), notes=lambda: [warning])
    assert store.cache.notes(key) == (warning,)
    assert scanside("models show knee") == 0
    assert f"its builder said: {warning}" in scanside.out


@needs_builder
def test_a_dla_core_where_there_is_none_is_told_of_and_the_cpu_serves(
    scanside: Terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drafted(scanside, tmp_path)
    with_checks(scanside, tmp_path)
    assert scanside("models build knee --precision fp32 --dla 0") == 0
    assert "DLA core 0: nothing is built for it. Only TensorRT builds for a DLA" in scanside.out
    assert "tensorrt_rtx fp32: TensorRT for RTX has no DLA: build it without" in scanside.out
    assert "activate knee --precision fp32 --runtime onnxruntime" in scanside.out
    with pytest.raises(SystemExit):
        scanside("models build knee --dla one")
    assert "'one' is not the number of a DLA core, such as 0" in capsys.readouterr().err
