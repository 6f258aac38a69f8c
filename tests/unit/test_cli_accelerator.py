"""A model runs on the GPU or on a DLA because somebody chose it, not because it was built last."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from terminal import Terminal, fresh

from edge.config import load_config
from edge.packages import Shelf
from engines import Activated, EngineKey, FindingParity, Parity, load_package

NAME = "head-ct-hemorrhage"
GOOD = Parity(16, 0.02, (FindingParity("Hemorrhage", 0.001, 0.0001, 1.0, None, None),))


@pytest.fixture
def scanside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return fresh(tmp_path, capsys)


@pytest.fixture
def shelf(scanside: Terminal) -> Shelf:
    return Shelf.of(load_config(scanside.config))


@pytest.fixture
def keys(shelf: Shelf) -> dict[int | None, EngineKey]:
    """An engine for the first DLA core, and one for the GPU that was built after it."""
    digest = load_package(shelf.find(NAME).folder).digest
    gpu = EngineKey(digest, "tensorrt 10.3.0", "Orin", "SM87", "fp16", "1", "0.1.0")
    made = {0: replace(gpu, dla_core=0), None: gpu}
    for key in made.values():
        shelf.store.cache.get_or_build(key, lambda path: path.write_bytes(b"no engine"))
    return made


@pytest.mark.parametrize(("core", "words"), [(0, "--dla 0"), (None, "")])
def test_the_engine_that_was_asked_for_is_the_one_that_is_loaded(
    scanside: Terminal, keys: dict[int | None, EngineKey], core: int | None, words: str
) -> None:
    said = scanside.refused(
        f"models activate {NAME} --precision fp16 --runtime tensorrt {words}".strip()
    )
    assert f"{keys[core].digest}.engine" in said  # what it could not be is said of this file


def test_a_core_that_nothing_was_built_for_is_told_with_the_command(
    scanside: Terminal, keys: dict[int | None, EngineKey]
) -> None:
    said = scanside.refused(f"models activate {NAME} --precision fp16 --runtime tensorrt --dla 1")
    assert f"no fp16 engine of tensorrt for DLA core 1 for {NAME}" in said
    assert f"models build {NAME} --precision fp16 --dla 1" in said


@pytest.mark.parametrize("runtime", ["onnxruntime", "tensorrt_rtx"])
def test_a_runtime_without_a_dla_is_named(scanside: Terminal, runtime: str) -> None:
    said = scanside.refused(f"models activate {NAME} --runtime {runtime} --dla 0")
    assert f"--dla 0: {runtime} has no DLA" in said
    assert "--runtime tensorrt" in said


def test_the_choice_is_kept_shown_and_brought_back(
    scanside: Terminal, shelf: Shelf, keys: dict[int | None, EngineKey]
) -> None:
    for core in (0, None):
        shelf.store.active.activate(NAME, Activated.now(keys[core], GOOD))
    assert scanside(f"models show {NAME}") == 0
    assert "tensorrt 10.3.0 fp16 serves; since" in scanside.out
    assert "tensorrt 10.3.0 fp16 on DLA core 0 served before; since" in scanside.out
    assert "slices are prepared on the GPU if it agrees with OpenCV and is" in scanside.out
    assert "tensorrt 10.3.0 fp16 on DLA core 0 is built, for SM87" in scanside.out
    assert scanside(f"models rollback {NAME}") == 0
    assert f"tensorrt 10.3.0 fp16 on DLA core 0 serves {NAME} again." in scanside.out
    assert [one.key for one in shelf.store.active.of(NAME).both] == [keys[0], keys[None]]
    scanside("models list --json")
    (line,) = [one for one in json.loads(scanside.out) if one["name"] == NAME]
    assert line["serves"] == "tensorrt fp16 on DLA core 0"


def test_what_was_activated_before_there_was_a_choice_is_the_gpus(
    shelf: Shelf, keys: dict[int | None, EngineKey]
) -> None:
    shelf.store.active.activate(NAME, Activated.now(keys[None], GOOD))
    (file,) = (shelf.store.folder / "active").glob("*.json")
    held = json.loads(file.read_text(encoding="utf-8"))
    del held["current"]["key"]["dla_core"]
    file.write_text(json.dumps(held), encoding="utf-8")
    current = shelf.store.active.of(NAME).current
    assert current is not None
    assert current.key == keys[None]
