"""One suite for every runtime: what runs a model may change, what callers see may not."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from cuda_stand_in import Cuda, Graphs
from kserve_parts import describe, serving
from numpy.typing import NDArray
from runtime_parts import (
    Open,
    built_opener,
    kserve_opener,
    missing_for,
    onnxruntime_opener,
    tensorrt_opener,
    write,
)

from engines import EngineError, TensorSpec
from engines.build.plan import Module
from engines.cuda.context import CudaContext, open_context

MIB = 1 << 20
LOADS = 1000
RUNS = 50
FLOAT32 = np.dtype(np.float32)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("models")
    write(written)
    return written


MODULES: tuple[Module, ...] = ("tensorrt", "tensorrt_rtx")
LACKS = {module: missing_for(module) for module in MODULES}
HERE = tuple(module for module in MODULES if LACKS[module] is None)
# As test_pycuda_real.py starts it: real pycuda, over a driver of the tests.
PYCUDA = ("tensorrt-pycuda",) if "SCANSIDE_PYCUDA" in os.environ else ()


@pytest.fixture(
    scope="session", params=("onnxruntime", "kserve", "tensorrt-stand-in", *PYCUDA, *HERE)
)
def opened(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Open]:
    """What opens a model of the suite, in each runtime."""
    if request.param == "onnxruntime":
        yield onnxruntime_opener(folder)
    elif request.param == "kserve":
        served = {file.stem: describe(file) for file in folder.glob("*.onnx")}
        with serving(tmp_path_factory.mktemp("kserve") / "server", served) as server:
            yield kserve_opener(server.address)
    elif request.param == "tensorrt-stand-in":
        cuda = Cuda()
        gpu = CudaContext(cuda, record=Graphs().record, pop_driver=lambda: None)
        yield tensorrt_opener(folder, gpu, cuda)
        gpu.close()
        assert not cuda.retained
    elif request.param == "tensorrt-pycuda":
        import pycuda_scene  # noqa: PLC0415  # needs what that test starts it with

        gpu = open_context()
        yield tensorrt_opener(folder, gpu, pycuda_scene.DRIVER)
        gpu.close()
    else:
        yield built_opener(folder, request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("module", MODULES)
def test_a_gpu_runs_the_whole_suite_with(module: Module) -> None:
    if LACKS[module] is not None:
        pytest.skip(f"its engines cannot run here: {LACKS[module]}")


def ramp(*shape: int) -> NDArray[Any]:
    """Different numbers, small enough for fp16."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / np.float32(8)


def test_tensors_are_known_before_the_first_run(opened: Open) -> None:
    with opened("several") as engine:
        assert engine.inputs == (
            TensorSpec("x", FLOAT32, (None, 2)),
            TensorSpec("count", np.dtype(np.int32), (None, 3)),
        )
        assert engine.outputs == (
            TensorSpec("logits", FLOAT32, (None, 2)),
            TensorSpec("counted", np.dtype(np.int32), (None, 3)),
        )
    with opened("fixed") as engine:
        assert engine.inputs == (TensorSpec("x", FLOAT32, (2, 3)),)


@pytest.mark.parametrize("order", [(1, 8, 3, 8, 1), (8, 8, 8, 1, 1)])
def test_a_free_batch_takes_any_size_in_any_order(opened: Open, order: tuple[int, ...]) -> None:
    with opened("double") as engine:
        for size in order:
            given = ramp(size, 3, 4, 5)
            found = engine.infer({"x": given})
            assert list(found) == ["logits"]
            assert found["logits"].dtype == FLOAT32
            np.testing.assert_array_equal(found["logits"], given * 2)


def test_free_axes_in_space_are_taken_as_they_come(opened: Open) -> None:
    with opened("volume") as engine:
        for size in ((4, 4, 4), (16, 8, 4), (8, 8, 8)):
            ones = np.ones((1, 1, *size), np.float32)
            found = engine.infer({"x": ones})["logits"]
            assert found.shape == ones.shape
            assert found[0, 0, 1, 1, 1] == 27  # all neighbours are inside
            assert found[0, 0, 0, 0, 0] == 8


def test_each_tensor_keeps_its_own_type(opened: Open) -> None:
    with opened("several") as engine:
        counts = np.arange(6, dtype=np.int32).reshape(2, 3)
        found = engine.infer({"x": ramp(2, 2), "count": counts})
        np.testing.assert_array_equal(found["counted"], counts + 10)
        assert found["counted"].dtype == np.int32
        assert list(found) == ["logits", "counted"]
    with opened("half") as engine:
        halves = ramp(3, 2).astype(np.float16)
        found = engine.infer({"x": halves})
        np.testing.assert_array_equal(found["logits"], halves * 2)
        assert found["logits"].dtype == np.float16


def test_any_memory_order_and_a_read_only_array_are_read_right(opened: Open) -> None:
    given = ramp(2, 3, 4, 5)
    frozen = given.copy()
    frozen.setflags(write=False)
    with opened("double") as engine:
        for same in (np.asfortranarray(given), given[::-1][::-1], frozen):
            np.testing.assert_array_equal(engine.infer({"x": same})["logits"], given * 2)


def test_a_result_stays_when_the_engine_runs_again_and_after_it_closed(opened: Open) -> None:
    with opened("double") as engine:
        first = engine.infer({"x": ramp(1, 3, 4, 5)})["logits"]
        engine.infer({"x": np.zeros((1, 3, 4, 5), np.float32)})
    np.testing.assert_array_equal(first, ramp(1, 3, 4, 5) * 2)


@pytest.mark.parametrize(
    ("feeds", "says"),
    [
        ({}, ["'x'", "missing", "float32 (n, 3, 4, 5)"]),
        ({"y": ramp(1)}, ["'y'", "not an input", "x"]),
        ({"x": ramp(1, 3, 4, 5).astype(np.float64)}, ["'x'", "float64 (1, 3, 4, 5)"]),
        ({"x": ramp(1, 3, 5, 4)}, ["'x'", "float32 (n, 3, 4, 5)", "float32 (1, 3, 5, 4)"]),
        ({"x": ramp(3, 4, 5)}, ["'x'", "float32 (3, 4, 5)"]),
        ({"x": ramp(0, 3, 4, 5)}, ["'x'", "float32 (0, 3, 4, 5)"]),
    ],
)
def test_a_wrong_tensor_is_named_and_the_engine_goes_on(
    opened: Open, feeds: dict[str, NDArray[Any]], says: list[str]
) -> None:
    with opened("double") as engine:
        with pytest.raises(EngineError) as caught:
            engine.infer(feeds)
        for words in says:
            assert words in str(caught.value)
        np.testing.assert_array_equal(
            engine.infer({"x": ramp(1, 3, 4, 5)})["logits"][0, 0, 0, 1], 0.25
        )


def test_a_result_that_is_not_a_number_is_refused(opened: Open) -> None:
    with opened("roots") as engine:
        with pytest.raises(EngineError, match="'logits' holds values that are not finite"):
            engine.infer({"x": np.full((2, 2), -1, np.float32)})
        assert engine.infer({"x": np.full((2, 2), 4, np.float32)})["logits"].tolist() == [
            [2, 2],
            [2, 2],
        ]


def test_a_closed_engine_says_that_it_is_closed(opened: Open) -> None:
    with opened("fixed") as engine:
        engine.warm_up()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.infer({"x": ramp(2, 3)})
    with pytest.raises(EngineError, match="closed"):
        engine.warm_up()


def test_different_engines_run_at_the_same_time(opened: Open) -> None:
    wrong: list[str] = []
    together = threading.Barrier(4)

    def run(number: int) -> None:
        given = ramp(2, 3, 4, 5) + np.float32(number)
        with opened("double") as engine:
            together.wait(60)
            right = [
                np.array_equal(engine.infer({"x": given})["logits"], given * 2) for _ in range(RUNS)
            ]
        if not all(right):
            wrong.append(f"engine {number}: {right.count(False)} of {RUNS}")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert not wrong


def test_a_thousand_loads_take_no_more_memory_than_fifty(opened: Open) -> None:
    def load(times: int) -> int:
        for _ in range(times):
            with opened("double") as engine:
                engine.infer({"x": ramp(2, 3, 4, 5)})
        gc.collect()
        return int(psutil.Process().memory_info().rss)

    before = load(50)
    assert load(LOADS - 50) - before < 16 * MIB
