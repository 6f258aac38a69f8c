"""The shipped model on a real server: gated like every engine, and run here when it is gone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from kserve_parts import describe, serving
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from engines import load_package, serve, shipped_packages
from engines.runtime import fallback
from engines.store import EngineStore

MODEL = shipped_packages() / "head-ct-hemorrhage" / "model.onnx"
SAMPLES = 3


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The shipped package with a few of its samples: MLServer unpacks them number by number."""
    folder = shutil.copytree(MODEL.parent, tmp_path / "package")
    check_set = load_package(folder).check_set
    assert check_set is not None
    with np.load(check_set) as held:
        few = {name: held[name][:SAMPLES] for name in held.files}
    np.savez(check_set, **few)
    return folder


@pytest.fixture
def slices() -> NDArray[Any]:
    return np.full((1, 6, 112, 112), 0.25, np.float32)


def store_with(folder: Path, address: str, model: str) -> EngineStore:
    file = folder / "remote.toml"
    file.write_text(
        f'[head-ct-hemorrhage]\naddress = "{address}"\nmodel = "{model}"\nplain = true\n'
        "deadline_s = 20\n"
    )
    return EngineStore(folder / "engines", limit=1 << 30, remote=file)


def spoiled(folder: Path) -> Path:
    """The shipped model with every logit moved: it runs, and is another model."""
    model = onnx.load(MODEL)
    logits = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["before" if name == logits else name for name in node.output]
        node.input[:] = ["before" if name == logits else name for name in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(3), "moved"))
    model.graph.node.append(helper.make_node("Add", ["before", "moved"], [logits]))
    file = folder / "spoiled.onnx"
    onnx.save(model, file)
    return file


def test_the_server_runs_it_while_it_is_there_and_this_machine_when_not(
    tmp_path: Path, package: Path, slices: NDArray[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fallback, "REST_S", 0.0)
    models = {"head": describe(MODEL)}
    with serving(tmp_path / "server", models) as server:
        found = serve(package, store_with(tmp_path, server.address, "head"))
        assert (found.engine.name, found.notes) == ("kserve", ())
        there = found.engine.infer({"pixels": slices})["logits"]
        server.stop()
        here = found.engine.infer({"pixels": slices})["logits"]
        assert found.engine.name == "onnxruntime"
        np.testing.assert_allclose(there, here, atol=1e-4)
        server.start()
        found.engine.infer({"pixels": slices})
        assert found.engine.name == "kserve"
        found.engine.close()


def test_a_model_that_disagrees_with_fp32_does_not_serve_wherever_it_runs(
    tmp_path: Path, package: Path, slices: NDArray[Any]
) -> None:
    models = {"other": describe(spoiled(tmp_path))}
    with serving(tmp_path / "server", models) as server:
        found = serve(package, store_with(tmp_path, server.address, "other"))
    assert found.engine.name == "onnxruntime"
    assert "until its server can be had" in found.notes[0]
    assert "off by" in found.notes[0]
    assert found.engine.infer({"pixels": slices})["logits"].shape == (1, 3)
    found.engine.close()


def test_a_file_that_cannot_be_read_leaves_the_model_here(tmp_path: Path, package: Path) -> None:
    store = store_with(tmp_path, "nowhere", "head")
    found = serve(package, store)
    assert found.engine.name == "onnxruntime"
    assert "It runs here alone" in found.notes[0]
    assert "is not host:port" in found.notes[0]
    found.engine.close()
