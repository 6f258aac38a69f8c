"""Memory and recordings are planned before a run, and a plan that cannot be met says why."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cuda_stand_in import Cuda, StandInError

from engines import EngineError, TensorSpec
from engines.cuda import driver
from engines.cuda.buffers import Buffers, Slot, plan
from engines.cuda.context import CudaContext
from engines.cuda.stepping import Recording, Step

SPEC = TensorSpec("x", np.dtype(np.float32), (None, 3))
SLOT = Slot(SPEC, (1, 3), (8, 3))
CUDA_H = Path("/usr/local/cuda/include/cuda.h")


def test_memory_is_that_of_the_largest_shapes() -> None:
    flag = Slot(TensorSpec("flag", np.dtype(np.bool_), ()), (), ())
    empty = Slot(SPEC, (0, 3), (0, 3))
    assert (SLOT.size, flag.size, empty.size) == (96, 1, 1)
    assert plan([SLOT, flag], limit=97) == 97
    with pytest.raises(EngineError, match=r"largest is 'x' \(8, 3\).*smaller batch"):
        plan([SLOT, flag], limit=96)


@pytest.mark.parametrize("shape", [(9, 3), (0, 3)])
def test_a_shape_outside_the_profile_is_refused_with_its_bounds(shape: tuple[int, ...]) -> None:
    assert SLOT.refusal((8, 3)) is None
    said = SLOT.refusal(shape)
    assert said is not None
    assert "'x'" in said
    assert "(1, 3) to (8, 3)" in said


def test_a_tensor_goes_to_the_device_and_back_whatever_its_memory_order() -> None:
    cuda = Cuda()
    gpu = CudaContext(cuda, pop_driver=lambda: None)
    with gpu.current():
        buffers = Buffers(cuda, [SLOT])
        given = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(4, 3))
        buffers.upload("x", given, None)
        buffers.view("x", (4, 3))[:] = 0
        np.testing.assert_array_equal(buffers.download({"x": (4, 3)}, None)["x"], given)
        buffers.free()
        buffers.free()
    gpu.close()
    assert not cuda.alive


def test_memory_that_cannot_be_had_leaves_none_behind() -> None:
    cuda = Cuda(memory=300)
    gpu = CudaContext(cuda, pop_driver=lambda: None)
    with gpu.current(), pytest.raises(StandInError, match="out of memory"):
        Buffers(cuda, [SLOT, Slot(TensorSpec("y", SPEC.dtype, SPEC.shape), (1, 3), (8, 3))])
    assert cuda.left == 300
    gpu.close()


def test_a_run_is_recorded_at_its_second_time_and_a_new_shape_begins_anew() -> None:
    one, two = ((1, 3),), ((2, 3),)
    known = Recording(allowed=True)
    assert known.step(one) is Step.PLAIN
    known = known.after(one, recorded=False)
    assert known.step(one) is Step.RECORD
    known = known.after(one, recorded=True)
    assert known.step(one) is Step.REPLAY
    assert known.step(two) is Step.PLAIN
    known = known.after(two, recorded=False).refused()
    assert known.step(two) is Step.PLAIN


def test_a_missing_driver_is_told_with_what_it_needs() -> None:
    with pytest.raises(EngineError, match=r"libnone\.so.*nvidia-smi must list the GPU"):
        driver.Driver("libnone.so")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with the driver's functions, compiled against NVIDIA's own declarations."""
    compiler = shutil.which("cc")
    if compiler is None or not CUDA_H.is_file():
        pytest.skip(f"no C compiler, or no {CUDA_H}: the declarations cannot be checked")
    folder = tmp_path_factory.mktemp("driver")
    text = CUDA_H.read_text(encoding="utf-8", errors="replace")
    lines = ["#include <cuda.h>", "static int ended;"]
    for name in driver.SIGNATURES:
        # cuda.h declares the plain name and makes it the newest version's by a macro.
        plain = name.removesuffix("_v2").removesuffix("WithFlags")
        found = re.search(rf"CUresult CUDAAPI {plain}\(([^;]*)\);", text)
        assert found is not None, f"{plain} is not declared"
        body = '*pStr = "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"; return 0;'
        if name == "cuStreamEndCapture":
            body = "ended++; *phGraph = (CUgraph)&ended; return 0;"
        elif name == "cuGraphInstantiateWithFlags":
            body = "*phGraphExec = (CUgraphExec)&ended; return flags;"
        elif name == "cuStreamBeginCapture_v2":
            body = "return hStream == (CUstream)9 ? 901 : 0;"
        elif name != "cuGetErrorName":
            body = (
                "return hStream == (CUstream)9 ? 901 : 0;" if "hStream" in found[1] else "return 0;"
            )
        lines.append(f"CUresult CUDAAPI {plain}({found[1]}) {{ {body} }}")
    source, built = folder / "driver.c", folder / "libdriver.so"
    source.write_text("\n".join(lines))
    command = [compiler, "-shared", "-fPIC", f"-I{CUDA_H.parent}", "-o", str(built), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return built


def test_the_driver_s_functions_are_called_as_nvidia_declares_them(library: Path) -> None:
    using = driver.Driver(str(library))
    graph = driver.Graph(7, lambda: None, using)
    graph.launch()
    graph.free()
    graph.free()
    using.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))


def test_work_that_cannot_be_recorded_is_said_in_the_driver_s_words(library: Path) -> None:
    using = driver.Driver(str(library))
    with pytest.raises(driver.DriverError, match=r"cuStreamBeginCapture_v2: CUDA_ERROR_STREAM"):
        driver.Graph(9, lambda: None, using)


def test_work_that_fails_ends_the_recording_all_the_same(library: Path) -> None:
    using = driver.Driver(str(library))

    def fail() -> None:
        raise EngineError("no kernel")

    with pytest.raises(EngineError, match="no kernel"):
        driver.Graph(7, fail, using)
