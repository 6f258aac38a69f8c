"""What a process does with the real pycuda: the product's own code, over the driver of the tests.

TensorRT alone is stood in for; what it enqueues goes on the driver's stream, as its kernels would.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Behind all else: the project's own versions of what both need come first.
sys.path.append(os.environ["SCANSIDE_PYCUDA"])

import numpy as np
from cuda_stand_in import TensorRt
from graphs import small_graph
from onnx import helper

from engines.build.modules import Flavour
from engines.cuda.context import CudaContext, open_context
from engines.cuda.fused import FusedPreparation
from engines.cuda.recipe import Recipe
from engines.runtime.tensorrt import TensorRtEngine

_Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
NO_MEMORY, LAUNCH_FAILED = 2, 719  # CUDA_ERROR_OUT_OF_MEMORY, CUDA_ERROR_LAUNCH_FAILED


class Driver:
    """The driver of the tests, as TensorRT and a test see it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")

    def need_context(self) -> None:
        """Fail without a current context."""
        if self.counts()["depth"] == 0:
            raise RuntimeError("no current context")

    def enqueue(self, stream: int, work: Callable[[], None]) -> object:
        """Put work on a stream, or into what is being recorded there."""
        callback = _Callback(lambda _: work())
        self.need_context()
        refused = self._library.cuLaunchHostFunc(ctypes.c_void_p(stream), callback, None)
        if refused:
            raise RuntimeError(f"the kernel could not be launched ({refused})")
        return callback

    def counts(self) -> dict[str, int]:
        """What lives now, and this thread's depth of contexts."""
        text = ctypes.create_string_buffer(512)
        self._library.stand_in_counts(text, ctypes.c_size_t(len(text)))
        found: dict[str, int] = json.loads(text.value)
        return found

    def calls(self) -> int:
        """How many calls worked in a context so far."""
        return int(self._library.stand_in_calls())

    def fail(self, after: int, result: int, *, lasting: bool) -> None:
        """Make that call from now on fail, alone or with all after it; -1 ends it."""
        self._library.stand_in_fail(ctypes.c_long(after), result, int(lasting))


DRIVER = Driver()
FILE = Path("double.engine")
RECIPE = Recipe(60, 47, (80, 63), 80, 80, ((40.0, 120.0), (700.0, 3200.0)))
STACK = np.random.default_rng(5).integers(-900, 2000, (2, 60, 47)).astype(np.int16)
LINES = np.array([[1.0, -24.0], [1.1, -10.5]], np.float32)
ONES = {"x": np.ones((2, 4), np.float32)}


def engine(gpu: CudaContext, *, owns_gpu: bool = False) -> TensorRtEngine:
    """Load a small model, that doubles, in the product's runtime."""
    content = small_graph([helper.make_node("Add", ["x", "x"], ["logits"])]).SerializeToString()
    flavour = Flavour("tensorrt", TensorRt(DRIVER, {"n": (1, 2, 8)}))
    return TensorRtEngine(
        FILE,
        content,
        flavour,
        gpu,
        owns_gpu=owns_gpu,
        precision="fp32",
        cache=None,
        memory=1 << 20,
    )


def doubled(loaded: TensorRtEngine, times: int = 4) -> None:
    """Run it often enough for a recording, and look at every result."""
    for number in range(times):
        given = {"x": np.full((2, 4), number, np.float32)}
        assert loaded.infer(given)["logits"].tolist() == [[2 * number] * 4] * 2


def prepared(kernel: FusedPreparation) -> Any:
    """Prepare a stack."""
    return kernel.prepare(STACK, LINES, RECIPE)


@contextmanager
def at_work() -> Iterator[tuple[CudaContext, TensorRtEngine, FusedPreparation]]:
    """Everything that the worker has of a GPU, in use."""
    gpu = open_context()
    loaded, kernel = engine(gpu), FusedPreparation(gpu)
    doubled(loaded)
    prepared(kernel)
    yield gpu, loaded, kernel
