"""Our half of running TensorRT: what is taken, recorded and given back, and every refusal."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cuda_stand_in import Cuda, Graphs, TensorRt
from graphs import small_graph
from onnx import helper

from engines import EngineError
from engines.build.modules import Flavour
from engines.cuda.context import CudaContext
from engines.runtime import tensorrt
from engines.runtime.tensorrt import TensorRtEngine

TWICE = [helper.make_node("Add", ["x", "x"], ["logits"])]
SIZES = {"n": (1, 2, 8)}


class Machine:
    """A machine with the stand-in's GPU."""

    def __init__(self, folder: Path) -> None:
        self.cuda, self.graphs = Cuda(), Graphs()
        self.gpu = CudaContext(self.cuda, record=self.graphs.record, pop_driver=lambda: None)
        self.file = folder / "model.engine"
        onnx.save(small_graph(TWICE), self.file)

    def load(
        self, *, memory: int = 1 << 20, owns_gpu: bool = False, dla_core: int | None = None
    ) -> TensorRtEngine:
        self.module = TensorRt(self.cuda, SIZES)
        return TensorRtEngine(
            self.file,
            self.file.read_bytes(),
            Flavour("tensorrt", self.module),
            self.gpu,
            owns_gpu=owns_gpu,
            precision="fp16",
            cache=None,
            memory=memory,
            dla_core=dla_core,
        )

    def clean(self) -> bool:
        """Whether nothing is left on the device."""
        return not self.cuda.alive and self.graphs.made == self.graphs.freed


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.gpu.close()
    assert made.clean()
    assert not made.cuda.retained


def ones(count: int) -> dict[str, Any]:
    return {"x": np.ones((count, 4), np.float32)}


def test_a_repeated_shape_is_recorded_and_a_new_shape_is_run_plainly(machine: Machine) -> None:
    engine, graphs = machine.load(), machine.graphs
    engine.infer(ones(2))
    assert (graphs.made, graphs.launched) == (0, 0)
    for _ in range(3):
        assert engine.infer(ones(2))["logits"].tolist() == [[2] * 4] * 2
    assert (graphs.made, graphs.launched) == (1, 3)
    assert engine.infer(ones(3))["logits"].shape == (3, 4)
    assert (graphs.freed, graphs.launched) == (1, 3)
    engine.close()


@pytest.mark.parametrize(("core", "told"), [(None, -1), (0, 0), (1, 1)])
def test_an_engine_is_read_for_the_core_that_it_was_built_for(
    machine: Machine, core: int | None, told: int
) -> None:
    machine.load(dla_core=core).close()
    assert machine.module.cores == [told]


def test_after_the_warm_up_the_first_slice_is_a_recorded_run(machine: Machine) -> None:
    engine = machine.load()
    engine.warm_up()
    assert machine.graphs.launched > 0
    assert engine.timing is not None
    assert engine.timing.upload >= 0
    engine.close()


def test_an_engine_that_cannot_be_recorded_runs_without(machine: Machine) -> None:
    machine.graphs.refuse = True
    engine = machine.load()
    for _ in range(4):
        assert engine.infer(ones(1))["logits"].tolist() == [[2] * 4]
    assert machine.graphs.made == 0
    engine.close()


def test_a_run_that_fails_is_an_error_and_the_stack_is_clean(machine: Machine) -> None:
    engine = machine.load()
    engine._context.broken = True
    with pytest.raises(EngineError, match="could not run it: it gave no reason"):
        engine.infer(ones(1))
    assert not machine.cuda.stack
    engine._context.broken = False
    assert engine.infer(ones(1))["logits"].shape == (1, 4)
    engine.close()


def test_a_batch_beyond_the_profile_is_refused_by_name(machine: Machine) -> None:
    engine = machine.load()
    with pytest.raises(EngineError, match=r"'x': \(9, 4\) is outside .* \(1, 4\) to \(8, 4\)"):
        engine.infer(ones(9))
    engine.close()


def test_what_is_no_engine_says_that_it_must_be_built_again(machine: Machine) -> None:
    machine.file.write_bytes(b"\xff" * 64)
    with pytest.raises(EngineError, match=r"cannot read it on stand-in \(SM87\).*magicTag.*again"):
        machine.load()
    assert machine.clean()


@pytest.mark.parametrize("left", [300, 200, 40])
def test_memory_that_the_device_has_not_leaves_nothing_behind(machine: Machine, left: int) -> None:
    machine.cuda.left = left
    with pytest.raises(EngineError, match=r"could not load it on stand-in: .*out of memory"):
        machine.load()
    assert machine.clean()
    assert machine.cuda.left == left


def test_tensors_above_the_limit_are_refused_before_they_are_taken(machine: Machine) -> None:
    with pytest.raises(EngineError, match="above the 0 MiB allowed"):
        machine.load(memory=100)
    assert machine.clean()


def test_closing_the_gpu_closes_its_engines_first(machine: Machine) -> None:
    one, two = machine.load(), machine.load()
    one.warm_up()
    machine.gpu.close()
    assert machine.clean()
    for engine in (one, two):
        engine.close()
        with pytest.raises(EngineError, match="closed"):
            engine.infer(ones(1))


def test_an_engine_that_opened_the_gpu_gives_it_back(machine: Machine) -> None:
    machine.load(owns_gpu=True).close()
    assert machine.gpu.closed
    assert machine.cuda.retained == 0


def test_a_gpu_that_closes_with_the_engine_that_opened_it_is_given_back_once(
    machine: Machine,
) -> None:
    """As at the end of an interpreter that nobody told to close anything."""
    machine.load(owns_gpu=True).warm_up()
    machine.gpu.close()
    assert machine.gpu.closed
    assert machine.clean()
    assert machine.cuda.retained == 0


def test_an_engine_that_was_not_loaded_gives_the_gpu_back_too(machine: Machine) -> None:
    machine.file.write_bytes(b"\xff")
    with pytest.raises(EngineError, match="cannot read it"):
        machine.load(owns_gpu=True)
    assert machine.gpu.closed


def test_a_size_that_the_data_decide_is_refused(machine: Machine) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["found"]),
        helper.make_node("Cast", ["found"], ["logits"], to=onnx.TensorProto.FLOAT),
    ]
    onnx.save(small_graph(nodes, out=(2, "k")), machine.file)
    with pytest.raises(EngineError, match="the size of 'logits' depends on the data"):
        machine.load()


def test_another_file_and_a_missing_one_are_refused_before_anything_is_loaded(
    tmp_path: Path,
) -> None:
    file = tmp_path / "model.engine"
    with pytest.raises(EngineError, match=r"model\.engine: cannot be read"):
        tensorrt.load(file)
    file.write_bytes(b"other")
    with pytest.raises(EngineError, match=r"expected 0{64}\. The engine was replaced or damaged"):
        tensorrt.load(file, digest="0" * 64)


def test_what_this_machine_lacks_is_said_and_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "model.engine"
    file.write_bytes(b"engine")
    # Without a GPU it is the first thing that lacks; with one, these bytes are no engine.
    with pytest.raises(EngineError, match=r"JetPack|pip install|build it again"):
        tensorrt.load(file)


def test_the_module_for_rtx_has_every_name_that_is_used() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    used = {
        trt.Runtime: ["deserialize_cuda_engine"],
        trt.ICudaEngine: [
            "num_io_tensors",
            "get_tensor_name",
            "get_tensor_mode",
            "get_tensor_dtype",
            "get_tensor_shape",
            "get_tensor_profile_shape",
            "create_execution_context",
            "create_runtime_config",
        ],
        trt.IExecutionContext: [
            "set_input_shape",
            "infer_shapes",
            "get_tensor_shape",
            "set_tensor_address",
            "execute_async_v3",
        ],
        trt.IRuntimeConfig: ["create_runtime_cache", "set_runtime_cache", "cuda_graph_strategy"],
        trt.IRuntimeCache: ["serialize", "deserialize"],
        trt.TensorIOMode: ["INPUT", "OUTPUT"],
        trt.CudaGraphStrategy: ["WHOLE_GRAPH_CAPTURE"],
    }
    for kind, names in used.items():
        assert not [name for name in names if not hasattr(kind, name)]
    assert np.dtype(trt.nptype(trt.float16)) == np.float16
    assert "stream_handle" in (inspect.getdoc(trt.IExecutionContext.execute_async_v3) or "")


def test_a_broken_engine_is_refused_by_the_real_runtime_for_rtx_in_its_own_words() -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    from engines.build.modules import load  # noqa: PLC0415

    flavour = load("tensorrt_rtx")
    logger = flavour.kept_errors(lambda _: None)
    assert flavour.module.Runtime(logger).deserialize_cuda_engine(b"no engine" * 20) is None
    assert "magicTag" in logger.said()
