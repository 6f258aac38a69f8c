"""An engine without a critical finding rests until it is asked, and then says the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edge.analysis.model import Model
from engines import (
    EngineError,
    EngineStore,
    PackageError,
    keep_as_good,
    load_engine,
    load_package,
    serve,
    shipped_packages,
)

CHEST = shipped_packages() / "chest-xray-findings-adults"
HEAD = shipped_packages() / "head-ct-hemorrhage"


def pictures(folder: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    spec = load_package(folder).input
    shape = (3, spec.channels, spec.height, spec.width)
    return np.random.default_rng(3).random(shape, dtype=np.float32)


def test_what_may_flag_something_critical_is_always_ready() -> None:
    serving = serve(HEAD)
    model = Model(serving, None, 1)
    serving.engine.infer({serving.package.input.tensor: pictures(HEAD)})
    model.close()


def test_an_engine_that_can_flag_nothing_critical_takes_no_memory() -> None:
    serving = serve(CHEST)
    Model(serving, None, 1)
    with pytest.raises(EngineError, match="this engine is closed"):
        serving.engine.infer({serving.package.input.tensor: pictures(CHEST)})


@pytest.mark.parametrize("kept", [False, True])
def test_a_model_that_rested_says_what_its_engine_says(tmp_path: Path, kept: bool) -> None:
    store = EngineStore(tmp_path, limit=1 << 30) if kept else None
    serving = serve(CHEST, store)
    if store is not None:
        serving = keep_as_good(serving, store)
    model = Model(serving, store, 1)
    package = serving.package
    given = pictures(CHEST)
    said, _ = model.ask(list(given))
    fresh = load_engine(package).infer({package.input.tensor: given})[package.output.tensor]
    first = package.findings[0]
    expected = 1 / (1 + np.exp(-(first.calibration[0] * fresh[:, 0] + first.calibration[1])))
    assert said[:, 0] == pytest.approx(expected, abs=1e-5)
    assert model.name == ("onnxruntime", "fp32")
    assert model.where(given[0]) is not None
    model.close()


def test_a_model_that_was_damaged_while_it_rested_is_refused_when_it_wakes(tmp_path: Path) -> None:
    folder = tmp_path / CHEST.name
    shutil.copytree(CHEST, folder)
    model = Model(serve(folder), None, 1)
    (folder / "model.onnx").write_bytes(b"another model")
    with pytest.raises((EngineError, PackageError), match="replaced or damaged"):
        model.ask(list(pictures(CHEST)))


def test_a_model_damaged_while_it_rested_goes_on_with_what_was_kept(tmp_path: Path) -> None:
    folder = tmp_path / CHEST.name
    shutil.copytree(CHEST, folder)
    store = EngineStore(tmp_path / "engines", limit=1 << 30)
    model = Model(keep_as_good(serve(folder, store), store), store, 1)
    (folder / "model.onnx").write_bytes(b"another model")
    said, _ = model.ask(list(pictures(CHEST)))
    assert said.shape == (3, 14)
