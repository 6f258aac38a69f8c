"""What serves a package changes in one step, can go back at once, and never to what disagrees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from segmenting import write_brightness

from engines import (
    Activated,
    ActivationError,
    EngineError,
    EngineKey,
    EngineStore,
    FindingParity,
    ModelDamaged,
    Parity,
    keep_as_good,
    load_package,
    serve,
)
from engines.activation import Activations
from engines.serving import onnx_runtime_key

KEY = EngineKey("a" * 64, "tensorrt 10.3.0", "Orin", "SM87", "fp16", "1x3x160x160", "0.1.0")
GOOD = Parity(16, 0.02, (FindingParity("Hemorrhage", 0.001, 0.0001, 1.0, None, None),))
FP16 = Activated.now(KEY, GOOD)
INT8 = Activated.now(replace(KEY, precision="int8 minmax abc"), GOOD)

_KILLED = """
import os, signal, sys
from pathlib import Path
import engines.activation, engines.durable as durable
from engines import Activated, EngineKey, FindingParity, Parity

key = EngineKey("a" * 64, "tensorrt 10.3.0", "Orin", "SM87", "int8 minmax abc", "x", "0.1.0")
good = Parity(16, 0.02, (FindingParity("Hemorrhage", 0.001, 0.0001, 1.0, None, None),))
calls, real = 0, durable.to_disk

def dying(path):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(path)

durable.to_disk = dying
engines.activation.Activations(Path(sys.argv[1])).activate("head-ct", Activated.now(key, good))
"""


@pytest.fixture
def active(tmp_path: Path) -> Activations:
    return Activations(tmp_path / "active")


def test_before_anything_is_activated_nothing_stands(active: Activations) -> None:
    assert active.of("head-ct").both == ()
    assert active.kept() == frozenset()
    assert active.seen() == ()


def test_the_engine_before_is_kept_and_comes_back_at_once(active: Activations) -> None:
    active.activate("head-ct", FP16)
    active.activate("head-ct", INT8)
    assert active.of("head-ct").both == (INT8, FP16)
    assert active.kept() == {FP16.key.digest, INT8.key.digest}
    assert active.rollback("head-ct") == FP16
    assert active.of("head-ct").both == (FP16, INT8)
    assert active.rollback("head-ct") == INT8


def test_activating_the_same_again_does_not_lose_the_one_before(active: Activations) -> None:
    active.activate("head-ct", FP16)
    active.activate("head-ct", INT8)
    active.activate("head-ct", INT8)
    assert active.of("head-ct").both == (INT8, FP16)


def test_where_nothing_served_before_there_is_no_way_back(active: Activations) -> None:
    active.activate("head-ct", FP16)
    with pytest.raises(ActivationError, match="no engine served before"):
        active.rollback("head-ct")
    assert active.of("head-ct").current == FP16


def test_an_engine_that_disagrees_stays_out_and_says_why() -> None:
    bad = replace(GOOD, findings=(replace(GOOD.findings[0], worst=0.0312),))
    with pytest.raises(ActivationError) as caught:
        Activated.now(KEY, bad)
    said = str(caught.value)
    for words in ("fp16 engine of tensorrt 10.3.0", "0.0312", "16 samples", "0.0200", "stays out"):
        assert words in said


def test_every_change_is_seen_by_who_watches(active: Activations) -> None:
    active.activate("head-ct", FP16)
    first = active.seen()
    active.activate("head-ct", INT8)
    second = active.seen()
    active.forget("head-ct")
    assert len({first, second, active.seen()}) == 3


def test_a_damaged_file_says_what_to_do_and_is_replaced_by_the_next(
    active: Activations, tmp_path: Path
) -> None:
    active.activate("head-ct", FP16)
    (tmp_path / "active" / "head-ct.json").write_text('{"current": {', encoding="utf-8")
    with pytest.raises(ActivationError, match="scanside models activate head-ct"):
        active.of("head-ct")
    assert active.kept() == frozenset()
    active.activate("head-ct", INT8)
    assert active.of("head-ct").both == (INT8,)


@pytest.mark.parametrize("step", [1, 2])
def test_a_power_cut_leaves_the_old_engine_or_the_new(
    active: Activations, tmp_path: Path, step: int
) -> None:
    active.activate("head-ct", FP16)
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "active"), str(step)]
    assert subprocess.run(command, check=False).returncode == -9
    current = active.of("head-ct").current
    assert current is not None
    assert current.key.base_precision == ("fp16" if step == 1 else "int8")
    active.activate("head-ct", INT8)  # and the next goes on as if nothing had been


# Which engine serves


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_brightness(tmp_path / "brightness")


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "engines", limit=1 << 20)


def test_without_an_activation_fp32_serves_and_is_kept_as_the_last_good(
    folder: Path, store: EngineStore
) -> None:
    serving = serve(folder, store)
    assert (serving.engine.name, serving.activated, serving.notes) == ("onnxruntime", None, ())
    kept = keep_as_good(serving, store)
    assert kept.activated is not None
    assert store.active.of("brightness").current == kept.activated
    assert keep_as_good(kept, store) == kept


def test_a_damaged_model_leaves_the_last_good_engine_serving(
    folder: Path, store: EngineStore
) -> None:
    keep_as_good(serve(folder, store), store)
    (folder / "model.onnx").write_bytes(b"damaged")
    serving = serve(folder, store)
    assert serving.parity.agrees
    assert serving.activated is not None
    (note,) = serving.notes
    assert "the model was replaced or damaged" in note
    assert "goes on" in note
    (folder / "model.onnx").unlink()
    assert serve(folder, store).activated is not None


def test_a_damaged_model_without_a_good_engine_is_refused(folder: Path, store: EngineStore) -> None:
    (folder / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(ModelDamaged, match="replaced or damaged"):
        serve(folder, store)


def activate(folder: Path, store: EngineStore, content: bytes, precision: str) -> Activated:
    """Have some bytes serve as if they had agreed once."""
    key = onnx_runtime_key(load_package(folder), precision)
    store.cache.get_or_build(key, lambda target: target.write_bytes(content))
    activated = Activated.now(key, GOOD)
    store.active.activate("brightness", activated)
    return activated


def test_where_the_active_engine_cannot_be_loaded_the_one_before_serves(
    folder: Path, store: EngineStore
) -> None:
    good = activate(folder, store, (folder / "model.onnx").read_bytes(), "fp32")
    activate(folder, store, b"no engine", "fp16")
    serving = serve(folder, store)
    assert serving.activated == good
    assert "cannot load it" in serving.notes[0]


def test_an_active_engine_that_disagrees_here_does_not_serve(
    folder: Path, store: EngineStore, tmp_path: Path
) -> None:
    other = write_brightness(tmp_path / "other", steps=(0.0, 2.0, 5.0))
    activate(folder, store, (other / "model.onnx").read_bytes(), "fp16")
    serving = serve(folder, store)
    assert serving.activated is None
    assert "is off by" in serving.notes[0]


def test_a_damaged_engine_in_the_cache_does_not_serve(folder: Path, store: EngineStore) -> None:
    good = activate(folder, store, (folder / "model.onnx").read_bytes(), "fp32")
    found = store.cache.find(good.key)
    assert found is not None
    found.path.write_bytes(b"damaged")
    serving = serve(folder, store)
    assert serving.activated is None
    assert "its SHA-256 is" in serving.notes[0]


def test_when_nothing_can_serve_every_reason_is_told(folder: Path, store: EngineStore) -> None:
    activate(folder, store, b"no engine", "fp16")
    with np.load(folder / "check.npz") as held:
        volume, scores = held["volume"], held["scores"].copy()
    scores[:, 1] += 0.2
    np.savez(folder / "check.npz", volume=volume, scores=scores)
    with pytest.raises(EngineError) as caught:
        serve(folder, store)
    first, second = str(caught.value).splitlines()
    assert "cannot load it" in first
    assert "is off by" in second


def test_engines_of_an_older_model_are_not_mistaken_for_the_new_ones(
    folder: Path, store: EngineStore, tmp_path: Path
) -> None:
    activate(folder, store, (folder / "model.onnx").read_bytes(), "fp32")
    newer = write_brightness(tmp_path / "newer", steps=(0.0, 2.0, 5.0))
    serving = serve(newer, store)
    assert serving.activated is None
    assert "was built from another model than the package has now" in serving.notes[0]
    kept = keep_as_good(serving, store)
    assert store.active.of("brightness").current == kept.activated


def test_the_store_keeps_what_serves_whatever_else_is_built(
    folder: Path, store: EngineStore
) -> None:
    good = activate(folder, store, (folder / "model.onnx").read_bytes(), "fp32")
    proof = store.folder / "cache" / f"{good.key.digest}.json"
    os.utime(proof, (1, 1))
    small = EngineStore(store.folder, limit=1)
    small.cache.get_or_build(KEY, lambda target: target.write_bytes(b"x" * 100))
    assert {entry.key for entry in small.cache.entries()} == {good.key, KEY}
    assert json.loads(proof.read_text(encoding="utf-8"))["size"] > 0
