"""The few calls of the CUDA driver that pycuda does not offer: its own stack, and graphs.

Through ctypes and not another binding, because these eight functions are stable since CUDA 11.4 and
the library is the one that pycuda has loaded already.
Source: CUDA driver API, stream and graph management.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

from engines.runtime.protocol import EngineError

ADVICE = (
    "It needs an NVIDIA GPU and its driver: a Jetson has both with JetPack; elsewhere nvidia-smi "
    "must list the GPU. Until then the model runs on the CPU."
)
_LIBRARY = "libcuda.so.1"
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads go on as they like

_Handle = ctypes.c_void_p
_Out = ctypes.POINTER(ctypes.c_void_p)
# Every function returns a CUresult, 0 for success.
SIGNATURES: dict[str, tuple[object, ...]] = {
    "cuGetErrorName": (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)),
    "cuCtxPopCurrent_v2": (_Out,),
    "cuStreamBeginCapture_v2": (_Handle, ctypes.c_int),
    "cuStreamEndCapture": (_Handle, _Out),
    "cuGraphInstantiateWithFlags": (_Out, _Handle, ctypes.c_ulonglong),
    "cuGraphLaunch": (_Handle, _Handle),
    "cuGraphExecDestroy": (_Handle,),
    "cuGraphDestroy": (_Handle,),
}


class DriverError(RuntimeError):
    """The driver refused a call; the message has the call and the driver's word for why."""


class Driver:
    """The loaded library.

    Parameters
    ----------
    path : str
        Name or file of the library.

    Raises
    ------
    EngineError
        If it cannot be loaded, or is older than CUDA 11.4.
    """

    def __init__(self, path: str = _LIBRARY) -> None:
        try:
            self._library = ctypes.CDLL(path)
            for name, arguments in SIGNATURES.items():
                function = getattr(self._library, name)
                function.argtypes, function.restype = arguments, ctypes.c_int
        except (OSError, AttributeError) as error:
            raise EngineError(f"CUDA's driver cannot be used ({error}). {ADVICE}") from error

    def call(self, name: str, *arguments: object) -> None:
        """Call a function of `SIGNATURES`.

        Raises
        ------
        DriverError
            If it does not return success.
        """
        result = getattr(self._library, name)(*arguments)
        if result != 0:
            said = ctypes.c_char_p()
            self._library.cuGetErrorName(result, ctypes.byref(said))
            raise DriverError(f"{name}: {(said.value or b'unknown').decode()} ({result})")


@functools.cache
def loaded() -> Driver:
    """Return the machine's driver."""
    return Driver()


def pop_context() -> None:
    """Take the current context from the driver's stack."""
    loaded().call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))


class Graph:
    """Work on a stream that was recorded once and is launched whole.

    It holds addresses: buffers must stay where they are. Made, launched and freed with the context
    current.

    Parameters
    ----------
    stream : int
        Handle of a stream other than the default one, with nothing under way.
    work : callable
        Puts the work on the stream, and must not wait for it.

    Raises
    ------
    DriverError
        If the work cannot be recorded. The stream can be used again, also after what `work` raises.
    """

    def __init__(self, stream: int, work: Callable[[], None], using: Driver | None = None) -> None:
        self._driver = using or loaded()
        self._stream = ctypes.c_void_p(stream)
        self._ready = ctypes.c_void_p()
        graph = ctypes.c_void_p()
        self._driver.call("cuStreamBeginCapture_v2", self._stream, _THREAD_LOCAL)
        try:
            work()
        finally:
            # Ends it in any case, or the stream would stay useless.
            self._driver.call("cuStreamEndCapture", self._stream, ctypes.byref(graph))
        try:
            self._driver.call("cuGraphInstantiateWithFlags", ctypes.byref(self._ready), graph, 0)
        finally:
            self._driver.call("cuGraphDestroy", graph)

    def launch(self) -> None:
        """Run what was recorded; returns before it is done."""
        self._driver.call("cuGraphLaunch", self._ready, self._stream)

    def free(self) -> None:
        """Give it back; harmless twice."""
        if self._ready:
            self._driver.call("cuGraphExecDestroy", self._ready)
            self._ready = ctypes.c_void_p()
