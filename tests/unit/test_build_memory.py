"""A build takes what this machine can spare, and a plan for TensorRT sets what it documents."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engines.build.memory import Memory, fitted, memory_here, starved
from engines.build.modules import Flavour, PlanRefused
from engines.build.plan import BuildPlan

GIB, MIB = 1 << 30, 1 << 20
PLAN = BuildPlan(
    Path("m.onnx"), Path("m.engine"), "tensorrt", (), workspace=GIB, memory_limit=4 * GIB
)


def test_a_machine_with_room_changes_nothing() -> None:
    assert fitted(PLAN, Memory(64 * GIB, shared=True)) == (PLAN, ())


def test_on_a_jetson_the_workspace_is_taken_from_what_everything_lives_in() -> None:
    plan, notes = fitted(PLAN, Memory(2 * GIB, shared=True))
    assert (plan.workspace, plan.memory_limit) == (512 * MIB, 1536 * MIB)
    assert "may hold 1536 MiB instead of 4096 MiB: 2048 MiB of memory" in notes[0]
    assert "workspace is 512 MiB instead of 1024 MiB" in notes[1]


def test_a_gpu_with_its_own_memory_keeps_its_workspace() -> None:
    plan, notes = fitted(PLAN, Memory(2 * GIB, shared=False))
    assert (plan.workspace, len(notes)) == (GIB, 1)


def test_a_full_machine_still_leaves_the_least_workspace() -> None:
    plan, _ = fitted(PLAN, Memory(10 * MIB, shared=True))
    assert plan.workspace == 16 * MIB


def test_the_kernel_says_what_is_available_and_the_device_tree_what_it_is(tmp_path: Path) -> None:
    meminfo, model = tmp_path / "meminfo", tmp_path / "model"
    meminfo.write_text("MemTotal: 8000000 kB\nMemAvailable:    3000 kB\nHugePages_Total: 0\n")
    assert memory_here(meminfo, model) == Memory(3000 * 1024, shared=False)
    model.write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\0")
    assert memory_here(meminfo, model).shared
    assert memory_here().available > 0


class Config:
    """What a builder's configuration is told."""

    def __init__(self, *, takes_cache: bool) -> None:
        self._takes_cache = takes_cache
        self.pools: dict[str, int] = {}
        self.caches: list[bytes] = []
        self.flags: list[str] = []

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.pools[pool] = size

    def create_timing_cache(self, content: bytes) -> bytes:
        return content

    def set_timing_cache(self, cache: bytes, *, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.caches.append(cache)
        return self._takes_cache or cache == b""

    def get_timing_cache(self) -> SimpleNamespace:
        return SimpleNamespace(serialize=lambda: b"timings")

    def set_flag(self, flag: str) -> None:
        self.flags.append(flag)


def tensorrt(**more: object) -> Flavour:
    module = SimpleNamespace(
        MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
        DeviceType=SimpleNamespace(DLA="dla"),
        BuilderFlag=SimpleNamespace(GPU_FALLBACK="gpu fallback"),
        **more,
    )
    return Flavour("tensorrt", module)


def configured(
    plan: BuildPlan, *, cores: int = 0, takes_cache: bool = True
) -> tuple[Any, list[str]]:
    config = Config(takes_cache=takes_cache)
    notes = tensorrt().configure(SimpleNamespace(num_DLA_cores=cores), config, plan)
    return config, notes


def with_(**changes: Any) -> BuildPlan:
    return BuildPlan(PLAN.model, PLAN.target, "tensorrt", (), **changes)


def test_the_workspace_is_told_to_the_builder() -> None:
    config, notes = configured(with_(workspace=64 * MIB))
    assert (config.pools, notes) == ({"workspace": 64 * MIB}, [])


def test_timings_are_kept_from_one_build_to_the_next(tmp_path: Path) -> None:
    plan = with_(timing_cache=tmp_path / "timings")
    config, notes = configured(plan)
    assert (config.caches, notes) == ([b""], [])
    tensorrt().keep_timings(config, plan)
    again, _ = configured(plan)
    assert again.caches == [b"timings"]


def test_timings_of_another_gpu_are_begun_anew_and_said(tmp_path: Path) -> None:
    file = tmp_path / "timings"
    file.write_bytes(b"of another version")
    config, notes = configured(with_(timing_cache=file), takes_cache=False)
    assert config.caches == [b"of another version", b""]
    assert "another GPU or version" in notes[0]


def test_a_dla_core_takes_what_it_can_and_the_gpu_the_rest() -> None:
    config, notes = configured(with_(dla_core=1), cores=2)
    assert (config.default_device_type, config.DLA_core, config.flags) == (
        "dla",
        1,
        ["gpu fallback"],
    )
    assert notes == ["Built for DLA core 1, and for the GPU what it does not take."]


@pytest.mark.parametrize(
    ("core", "cores", "has"), [(0, 0, "it has none"), (2, 2, "it has 2, counted from 0")]
)
def test_a_missing_dla_core_is_refused_so_that_no_engine_bears_its_name(
    core: int, cores: int, has: str
) -> None:
    said = rf"No DLA core {core} on this machine \({has}\): build it without a DLA core"
    with pytest.raises(PlanRefused, match=said):
        configured(with_(dla_core=core), cores=cores)


def test_tensorrt_builds_for_its_own_gpu_alone() -> None:
    with pytest.raises(PlanRefused, match="only for the GPU of the machine"):
        configured(with_(capability="SM87"))


@pytest.mark.parametrize(("flags", "expected"), [({"STRONGLY_TYPED": 1}, 2), ({}, 0)])
def test_every_network_is_strongly_typed(flags: dict[str, int], expected: int) -> None:
    kinds = SimpleNamespace(**flags)
    assert tensorrt(NetworkDefinitionCreationFlag=kinds).network_flags() == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Unexpected exception std::bad_alloc", True),
        ("[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)", True),
        ("[resizePhysical::145] Error Code 2: OutOfMemory (no further information)", True),
        ("Error Code 2: OutOfMemory (Requested size was 17125948 bytes.)", False),
        ("Could not find any implementation for node conv1", False),
    ],
)
def test_a_builder_without_memory_is_told_from_a_workspace_too_small(
    said: str, expected: bool
) -> None:
    assert starved(said) is expected
