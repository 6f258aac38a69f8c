"""A GPU that is not there: what `pycuda.driver` and `tensorrt` promise, kept on the CPU.

It runs our half of the GPU path where no GPU is: who holds the context, which memory is taken, what
is recorded, what is freed in which order. It is strict where the real ones are: a call without a
current context fails, and what is freed twice or outlives its context is counted. It says nothing
about TensorRT itself, about speed, or about results on a GPU; `tools/gpu_check.sh` does.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError

from engines.cuda.driver import DriverError


class StandInError(Exception):
    """As pycuda.driver.Error."""


class Streams(Protocol):
    """What TensorRT needs of CUDA: `Cuda`, or a driver that is there."""

    def need_context(self) -> None:
        """Fail without a current context."""

    def enqueue(self, stream: int, work: Callable[[], None]) -> object:
        """Put work on a stream; what is returned must live as long as it may be done again."""


class Cuda:
    """As the module `pycuda.driver`, one device."""

    Error: type[Exception] = StandInError

    def __init__(self, *, memory: int = 1 << 30, devices: int = 1) -> None:
        self.stacks = threading.local()
        self.retained = 0
        self.left = memory
        self.devices = devices
        self.alive: set[object] = set()
        cuda = self

        class Thing:
            """Something that lives in a context, and is freed in one."""

            def __init__(self) -> None:
                cuda.need_context()
                cuda.alive.add(self)

            def free(self) -> None:
                cuda.need_context()
                cuda.alive.remove(self)

        class Memory(Thing):
            def __init__(self, size: int) -> None:
                if size > cuda.left:
                    raise StandInError("cuMemAlloc failed: out of memory")
                super().__init__()
                cuda.left -= size
                self.bytes = (ctypes.c_ubyte * size)()

            def __int__(self) -> int:
                return ctypes.addressof(self.bytes)

            def free(self) -> None:
                super().free()
                cuda.left += len(self.bytes)

        class Pinned(Memory):
            @property
            def __array_interface__(self) -> dict[str, Any]:
                place = (int(self), False)
                return {"shape": (len(self.bytes),), "typestr": "|u1", "data": place, "version": 3}

        class Stream:
            handle = 7

            def __init__(self) -> None:
                cuda.need_context()

            def synchronize(self) -> None:
                cuda.need_context()

        class Event:
            def record(self, _: Stream | None = None) -> None:
                cuda.need_context()
                self.at = time.perf_counter()

            def time_since(self, other: Event) -> float:
                return (self.at - other.at) * 1000

        class Context:
            def push(self) -> None:
                assert cuda.retained
                cuda.stack.append(self)

            @staticmethod
            def pop() -> None:
                if not cuda.stack:
                    raise StandInError("context::pop failed: cannot pop non-current context")
                cuda.stack.pop()

            def detach(self) -> None:
                assert cuda.stack[-1] is self
                cuda.stack.clear()  # of what is not valid any more, as pycuda does
                assert not cuda.alive, f"{len(cuda.alive)} things outlive their context"
                cuda.retained -= 1

        class Device:
            def __init__(self, index: int) -> None:
                if index >= cuda.devices:
                    raise StandInError("cuDeviceGet failed: invalid device ordinal")

            def name(self) -> str:
                return "stand-in"

            def compute_capability(self) -> tuple[int, int]:
                return (8, 7)

            def retain_primary_context(self) -> Context:
                cuda.retained += 1
                return Context()

        self.Device, self.Context = Device, Context
        self.Stream, self.Event = Stream, Event
        self.mem_alloc = Memory
        self.module_from_buffer: Callable[[bytes], Any] = lambda code: code
        self._pinned = Pinned

    @property
    def stack(self) -> list[Any]:
        """Contexts of this thread, the current one last."""
        if not hasattr(self.stacks, "held"):
            self.stacks.held = []
        held: list[Any] = self.stacks.held
        return held

    def need_context(self) -> None:
        """Fail as every call does without a context."""
        if not self.stack:
            raise StandInError("invalid device context - no currently active context?")

    def enqueue(self, _: int, work: Callable[[], None]) -> None:
        """Put work on a stream; here it is done at once."""
        self.need_context()
        work()

    def init(self) -> None:
        """As cuInit."""
        if not self.devices:
            raise StandInError("cuInit failed: no CUDA-capable device is detected")

    def pagelocked_empty(self, size: int, dtype: object) -> Any:
        """Pinned memory, as an array whose base can be freed."""
        assert dtype is np.uint8
        return np.asarray(self._pinned(size))

    def memcpy_htod(self, there: Any, here: Any) -> None:
        """Copy to the device, and wait."""
        self.memcpy_htod_async(there, here, None)

    def memcpy_dtoh(self, here: Any, there: Any) -> None:
        """Copy from the device, and wait."""
        self.memcpy_dtoh_async(here, there, None)

    def memcpy_htod_async(self, there: Any, here: Any, _: Any) -> None:
        """Copy to the device."""
        self.need_context()
        ctypes.memmove(int(there), here.ctypes.data, here.nbytes)

    def memcpy_dtoh_async(self, here: Any, there: Any, _: Any) -> None:
        """Copy from the device."""
        self.need_context()
        ctypes.memmove(here.ctypes.data, int(there), here.nbytes)


class Graphs:
    """As the driver's recording of a stream: the work is kept and done again at every launch."""

    def __init__(self, *, refuse: bool = False) -> None:
        self.made = self.launched = self.freed = 0
        self.refuse = refuse

    def record(self, _: int, work: Callable[[], None]) -> Any:
        """Stand in for `engines.cuda.driver.Graph`."""
        if self.refuse:
            raise DriverError("cuStreamEndCapture: CUDA_ERROR_STREAM_CAPTURE_INVALIDATED (901)")
        self.made += 1
        graphs = self

        class Recorded:
            def launch(self) -> None:
                graphs.launched += 1
                work()

            def free(self) -> None:
                graphs.freed += 1

        return Recorded()


class TensorIOMode(Enum):
    """As tensorrt.TensorIOMode."""

    INPUT = 1
    OUTPUT = 2


class TensorRt:
    """As the module `tensorrt`; an engine is an ONNX model, and its profile comes with it."""

    __version__ = "0.0 (stand-in)"
    TensorIOMode = TensorIOMode

    class ILogger:
        """As tensorrt.ILogger."""

        ERROR, INTERNAL_ERROR, WARNING = 1, 0, 2

    def __init__(self, cuda: Streams, sizes: dict[str, tuple[int, int, int]]) -> None:
        self.cuda, self.sizes = cuda, sizes
        self.cores: list[int] = []  # for which each engine was read

    def nptype(self, dtype: str) -> type:
        """As tensorrt.nptype."""
        known = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
        return {**known, "tensor(int32)": np.int32}[dtype]

    def Runtime(self, logger: Any) -> Runtime:  # noqa: N802  # TensorRT's own name
        """As tensorrt.Runtime."""
        return Runtime(self, logger)


class Runtime:
    """As tensorrt.Runtime; `DLA_core` must be set before an engine is read."""

    DLA_core = -1

    def __init__(self, trt: TensorRt, logger: Any) -> None:
        self._trt, self._logger = trt, logger

    def deserialize_cuda_engine(self, content: bytes) -> CudaEngine | None:
        """Return None for what is no engine, as it does, with the reason in the log."""
        self._trt.cuda.need_context()
        self._trt.cores.append(self.DLA_core)
        try:
            onnx.load_from_string(content)
        except DecodeError:
            self._logger.log(1, "Serialization assertion header.magicTag failed")
            return None
        return CudaEngine(self._trt, onnxruntime.InferenceSession(content))


class CudaEngine:
    """As tensorrt.ICudaEngine."""

    def __init__(self, trt: TensorRt, session: Any) -> None:
        self.trt, self.session = trt, session
        self.takes = [node.name for node in session.get_inputs()]
        self.nodes = {node.name: node for node in (*session.get_inputs(), *session.get_outputs())}
        self.num_io_tensors = len(self.nodes)

    def get_tensor_name(self, index: int) -> str:
        """As it says."""
        return str(list(self.nodes)[index])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        """As it says."""
        return TensorIOMode.INPUT if name in self.takes else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> str:
        """As it says."""
        return str(self.nodes[name].type)

    def get_tensor_shape(self, name: str) -> list[int]:
        """-1 for a free axis."""
        return [size if isinstance(size, int) else -1 for size in self.nodes[name].shape]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[list[int]]:
        """Smallest, usual and largest."""
        assert profile == 0
        axes = self.nodes[name].shape
        return [
            [self.trt.sizes[axis][which] if isinstance(axis, str) else axis for axis in axes]
            for which in range(3)
        ]

    def create_execution_context(self) -> ExecutionContext:
        """As it says."""
        self.trt.cuda.need_context()
        return ExecutionContext(self)


class ExecutionContext:
    """As tensorrt.IExecutionContext."""

    def __init__(self, engine: CudaEngine) -> None:
        self._engine = engine
        self._shapes: dict[str, list[int]] = {}
        self._addresses: dict[str, int] = {}
        self._enqueued: list[object] = []
        self.broken = False

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        """Whether the profile takes it."""
        self._shapes[name] = list(shape)
        return True

    def infer_shapes(self) -> list[str]:
        """Names of what is not specified enough."""
        return [name for name in self._engine.takes if name not in self._shapes]

    def get_tensor_shape(self, name: str) -> list[int]:
        """What the inputs make of it."""
        sizes = {
            axis: size
            for given, shape in self._shapes.items()
            for axis, size in zip(self._engine.nodes[given].shape, shape, strict=True)
        }
        axes = self._engine.nodes[name].shape
        return [sizes.get(axis, -1) if isinstance(axis, str) else axis for axis in axes]

    def set_tensor_address(self, name: str, address: int) -> bool:
        """As it says."""
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        """Have what lies at the addresses run, with the shapes as they are now."""
        if self.broken:
            return False
        shapes = {name: self.get_tensor_shape(name) for name in self._engine.nodes}
        self._enqueued.append(self._engine.trt.cuda.enqueue(stream, lambda: self._run(shapes)))
        return True

    def _run(self, shapes: dict[str, list[int]]) -> None:
        feeds = {name: self._at(name, shapes[name]).copy() for name in self._engine.takes}
        names = [name for name in self._engine.nodes if name not in self._engine.takes]
        for name, value in zip(names, self._engine.session.run(names, feeds), strict=True):
            self._at(name, shapes[name])[...] = value

    def _at(self, name: str, shape: list[int]) -> Any:
        dtype = np.dtype(self._engine.trt.nptype(self._engine.nodes[name].type))
        size = int(np.prod(shape)) * dtype.itemsize
        block: Any = (ctypes.c_ubyte * size).from_address(self._addresses[name])
        return np.frombuffer(block, dtype).reshape(shape)
