"""An engine for a deep learning accelerator is planned for it, and is another than the GPU's."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from edge.commands.model_engines import accelerator
from engines import candidates as making
from engines import load_package, shipped_packages
from engines.candidates import Bench, key_for, plan_for, shapes_for
from engines.gpu import Gpu
from engines.store import EngineStore

ORIN = Gpu("Orin (nvgpu)", "SM87")
PACKAGE = load_package(shipped_packages() / "head-ct-hemorrhage")
SHAPES = shapes_for(PACKAGE, b"")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(EngineStore(tmp_path, limit=1000), ORIN, ("tensorrt",))


def test_the_core_is_in_the_plan(bench: Bench, tmp_path: Path) -> None:
    for core in (None, 0, 1):
        wanted = replace(bench, dla_core=core)
        plan = plan_for(PACKAGE, tmp_path / "x", tmp_path / "y", "tensorrt", SHAPES, wanted)
        assert plan.dla_core == core
        assert plan.timing_cache == bench.store.timings("tensorrt")


def test_each_core_and_the_gpu_have_engines_of_their_own(bench: Bench) -> None:
    benches = [replace(bench, dla_core=core) for core in (None, 0, 1)]
    keys = [key_for(PACKAGE, "fp16", "tensorrt 10.3.0", SHAPES, one) for one in benches]
    assert len({key.digest for key in keys}) == 3
    assert [key.on for key in keys] == ["", " on DLA core 0", " on DLA core 1"]


def test_another_workspace_makes_another_engine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key_for(PACKAGE, "fp16", "tensorrt 10.3.0", SHAPES, bench)
    assert before == key_for(PACKAGE, "fp16", "tensorrt 10.3.0", SHAPES, bench)
    monkeypatch.setattr(making, "_workspace", lambda _: 64 << 20)
    assert key_for(PACKAGE, "fp16", "tensorrt 10.3.0", SHAPES, bench).digest != before.digest


@pytest.mark.parametrize(
    ("gpu", "modules", "says"),
    [
        (True, ("tensorrt", "tensorrt_rtx"), "DLA core 1: TensorRT's engines are built for it"),
        (True, ("tensorrt_rtx",), "nothing is built for it. .* and TensorRT is not installed"),
        (False, ("tensorrt",), "nothing is built for it. .* and no GPU is here"),
    ],
)
def test_what_comes_of_the_wish_for_a_core_is_said(
    gpu: bool, modules: tuple[str, ...], says: str
) -> None:
    assert re.search(says, accelerator(1, gpu, modules))
