"""The worker's slices, prepared by the fused kernel's own source over a stand-in for the GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from arrivals import open_store
from cuda_stand_in import Cuda, Graphs, TensorRt
from kernel_on_cpu import Compiled, built
from worker_parts import PACKAGE, close, keep_slices, linked_worker, look, scores_of

from edge.analysis.messages import Closed
from edge.analysis.model import Model
from edge.analysis.preparing import OnGpu, Preparation, Trial, attempted, choose, preparation_for
from edge.analysis.slice_series import SliceSeries
from edge.imaging.prepare import Draw, with_opencv
from edge.store.studies import Store
from engines import (
    Engine,
    EngineError,
    InputSpec,
    Serving,
    compare,
    load_engine,
    load_package,
    shipped_packages,
)
from engines.build.modules import Flavour
from engines.cuda.context import CudaContext
from engines.cuda.fused import FusedPreparation
from engines.cuda.recipe import TOLERANCE, Recipe, reference
from engines.runtime.tensorrt import TensorRtEngine

SHIPPED = load_package(shipped_packages() / PACKAGE)
SLICES = [
    load_package(file.parent)
    for file in sorted(shipped_packages().glob("*/model.toml"))
    if not load_package(file.parent).volumes
]


class Machine:
    """A machine with the stand-in's GPU, and the kernel's own source on it."""

    def __init__(self, folder: Path) -> None:
        self.cuda = Cuda()
        self.gpu = CudaContext(self.cuda, record=Graphs().record, pop_driver=lambda: None)
        self.compiled = Compiled(built(folder))
        self.cuda.module_from_buffer = lambda _: self.compiled

    def engine(self) -> TensorRtEngine:
        """The shipped model, in an engine that owns the GPU's context."""
        content = SHIPPED.model.read_bytes()
        axis = onnx.load_from_string(content).graph.input[0].type.tensor_type.shape.dim[0]
        flavour = Flavour("tensorrt", TensorRt(self.cuda, {axis.dim_param: (1, 1, 16)}))
        return TensorRtEngine(
            SHIPPED.model,
            content,
            flavour,
            self.gpu,
            owns_gpu=True,
            precision="fp32",
            cache=None,
            memory=1 << 28,
        )

    def kernel(self, gpu: CudaContext) -> FusedPreparation:
        return FusedPreparation(gpu, compile_for=self.compile_for)

    def compile_for(self, architecture: str) -> bytes:
        assert architecture == "sm_87"  # the stand-in's
        return b"machine code"

    def preparing(self, engine: Engine, spec: InputSpec, **changes: Any) -> Preparation:
        """Choose as the worker does; how long a real GPU would take nobody knows here."""

        def attempt(spec: InputSpec, draw: Draw) -> Trial:
            return replace(attempted(spec, draw), gpu_ms=0.0, **changes)

        return preparation_for(engine, spec, load=self.kernel, attempt=attempt)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.gpu.close()
    assert not made.cuda.alive
    assert not made.cuda.retained


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "studies") as opened:
        yield opened


def test_a_series_prepared_on_the_gpu_scores_as_one_prepared_with_opencv(
    machine: Machine, store: Store
) -> None:
    slices = keep_slices(store, 4)
    with linked_worker() as worker:
        theirs = scores_of(worker.ask(*map(look, slices), close(slices[0])))
    engine = machine.engine()
    serving = Serving(SHIPPED, engine, compare(engine, SHIPPED), None, ())
    model = Model(serving, None, 1, preparing=machine.preparing)
    assert model.preparation.reason.startswith("on the GPU: 0.00 ms a slice, OpenCV takes ")
    series = SliceSeries(model)
    tried = machine.compiled.launched
    for one in slices:
        series.look(look(one))
    assert machine.compiled.launched == tried + len(slices)
    scores, _ = series.score(last=True)
    model.close()
    ours = scores_of([Closed(0, 0, scores, 0.0)])
    assert ours.keys() == theirs.keys()
    for place, probabilities in theirs.items():
        np.testing.assert_allclose(ours[place], probabilities, atol=1e-4)


def test_memory_is_taken_for_the_first_slice_and_for_larger_ones_alone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = machine.kernel(machine.gpu)
    taken: list[int] = []
    take = machine.cuda.mem_alloc

    def counted(size: int) -> Any:
        taken.append(size)
        return take(size)

    monkeypatch.setattr(machine.cuda, "mem_alloc", counted)
    lines = np.array([[1.0, -1024.0]], np.float32)
    for size, takes in ((64, True), (64, False), (96, True), (64, False), (96, False)):
        recipe = Recipe(size, size, (48, 48), 48, 48, ((40.0, 120.0),))
        stack = np.arange(size * size, dtype=np.int16).reshape(1, size, size)
        taken.clear()
        planes = kernel.prepare(stack, lines, recipe)
        np.testing.assert_array_equal(planes, reference(stack, lines, recipe))
        assert bool(taken) is takes
    kernel.close()


@pytest.mark.parametrize("package", SLICES, ids=lambda package: package.name)
def test_every_shipped_model_s_slices_can_be_prepared_there(package: Any, machine: Machine) -> None:
    kernel = machine.kernel(machine.gpu)
    trial = attempted(package.input, OnGpu(kernel))
    assert machine.compiled.launched > 1
    assert trial.off <= TOLERANCE
    kernel.close()
    kernel.close()


def test_an_engine_on_the_cpu_has_its_slices_prepared_there() -> None:
    engine = load_engine(SHIPPED)
    chosen = preparation_for(engine, SHIPPED.input)
    assert chosen == Preparation(with_opencv, "by OpenCV: onnxruntime runs on the CPU")
    engine.close()


@pytest.mark.parametrize(
    ("trial", "on_gpu", "reason"),
    [
        (Trial(1e-6, 0.4, 1.2), True, "on the GPU: 0.40 ms a slice, OpenCV takes 1.20; off by 1.0"),
        (Trial(1e-3, 0.4, 1.2), False, "by OpenCV: the GPU is off by 1.0e-03, 4e-06 is allowed"),
        (Trial(float("nan"), 0.4, 1.2), False, "by OpenCV: the GPU is off by nan"),
        (Trial(0.0, 1.3, 1.2), False, "by OpenCV: it takes 1.20 ms a slice, the GPU 1.30"),
    ],
)
def test_the_gpu_prepares_where_it_agrees_and_is_quicker(
    trial: Trial, on_gpu: bool, reason: str
) -> None:
    choice = choose(trial)
    assert choice.on_gpu is on_gpu
    assert choice.reason.startswith(reason)


def test_a_kernel_that_is_off_is_unloaded_and_opencv_prepares(machine: Machine) -> None:
    engine = machine.engine()
    chosen = machine.preparing(engine, SHIPPED.input, off=0.5)
    assert chosen.draw is with_opencv
    assert "off by 5.0e-01" in chosen.reason
    engine.close()


def test_a_kernel_that_cannot_be_compiled_leaves_it_to_opencv(machine: Machine) -> None:
    def no_compiler(_: str) -> bytes:
        raise FileNotFoundError("nvcc")

    engine = machine.engine()
    load = partial(FusedPreparation, compile_for=no_compiler)
    chosen = preparation_for(engine, SHIPPED.input, load=load)
    assert chosen.draw is with_opencv
    assert "cannot be compiled" in chosen.reason
    assert "nvcc, on the PATH or in /usr/local/cuda/bin" in chosen.reason
    engine.close()


def test_where_the_gpu_fails_amid_a_series_opencv_goes_on_and_the_gpu_is_left_alone(
    machine: Machine,
) -> None:
    kernel = machine.kernel(machine.gpu)
    draw = OnGpu(kernel)
    recipe = Recipe(30, 40, (60, 80), 80, 80, ((0.5, 1.0),))
    pixels = np.random.default_rng(2).random((30, 40), np.float32)
    expected = with_opencv(pixels, recipe)
    np.testing.assert_allclose(draw(pixels, recipe), expected, atol=TOLERANCE)
    launched = machine.compiled.launched
    machine.cuda.left = 0  # no memory on the device any more, and a larger slice comes
    recipe = Recipe(60, 40, (80, 53), 80, 80, ((0.5, 1.0),))
    pixels = np.random.default_rng(3).random((60, 40), np.float32)
    expected = with_opencv(pixels, recipe)
    np.testing.assert_array_equal(draw(pixels, recipe), expected)
    assert "out of memory" in draw.failure
    machine.cuda.left = 1 << 30
    np.testing.assert_array_equal(draw(pixels, recipe), expected)
    assert machine.compiled.launched == launched
    kernel.close()


def test_an_unloaded_kernel_says_so(machine: Machine) -> None:
    kernel = machine.kernel(machine.gpu)
    machine.gpu.close()
    recipe = Recipe(2, 2, (2, 2), 2, 2, ((0.5, 1.0),))
    lines = np.array([[1, 0]], np.float32)
    with pytest.raises(EngineError, match="unloaded with its context"):
        kernel.prepare(np.zeros((1, 2, 2), np.float32), lines, recipe)
