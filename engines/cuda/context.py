"""The one CUDA context of a process, and how it ends well.

pycuda aborts a process whose context stack is not empty when its module goes ("The context stack
was not empty upon module cleanup"), and TensorRT fails when its objects are freed without the
context that they were made in. So the context lies on the stack only while something runs, what
was made in it is freed first and in it, and both happen on every way out: `close`, the end of the
interpreter, an exception. A killed process is the driver's to clean up.

It is the device's primary context, which TensorRT's own use of the CUDA runtime shares.
Source: pycuda, `pycuda.driver.Context`; CUDA driver API, primary context management.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from engines.cuda import driver
from engines.runtime.protocol import EngineError

_INSTALL = "It is built on the device, for its CUDA: tools/setup.sh run --gpu"


class Cuda(Protocol):
    """The part of `pycuda.driver` that owning a context needs."""

    Context: Any
    Error: type[Exception]

    def init(self) -> None:
        """Find the driver's devices."""

    def Device(self, index: int) -> Any:  # noqa: N802  # pycuda's own name
        """Return a device."""


class Recorded(Protocol):
    """Work that was recorded, see `engines.cuda.driver.Graph`."""

    def launch(self) -> None:
        """Do it once more."""

    def free(self) -> None:
        """Give it back."""


class CudaContext:
    """A device's primary context, held by this process.

    One for a process, however many engines it runs. Any thread may use it; each thread has a stack
    of its own, and every use leaves it as it was.

    Parameters
    ----------
    cuda : Cuda
        `pycuda.driver`.
    index : int
        Which device; a Jetson has one.
    record : callable
        Records work on a stream, given its handle.
    pop_driver : callable
        Takes a context that pycuda has let go of from the driver's own stack.
    """

    def __init__(
        self,
        cuda: Cuda,
        index: int = 0,
        *,
        record: Callable[[int, Callable[[], None]], Recorded] = driver.Graph,
        pop_driver: Callable[[], None] = driver.pop_context,
    ) -> None:
        self.cuda: Any = cuda
        self.record = record
        self._pop_driver = pop_driver
        self._owner = os.getpid()
        self._guests: dict[int, Callable[[], None]] = {}
        self._tickets = itertools.count()
        try:
            cuda.init()
            device = cuda.Device(index)
            self.name = str(device.name())
            major, minor = device.compute_capability()
            self._context: Any = device.retain_primary_context()
        except cuda.Error as error:
            raise EngineError(f"No GPU can be used: {error}. {driver.ADVICE}") from error
        self.capability = f"SM{major}{minor}"
        atexit.register(self.close)

    @property
    def closed(self) -> bool:
        """Whether the context was given back."""
        return self._context is None

    @contextlib.contextmanager
    def current(self) -> Iterator[Any]:
        """Make the context this thread's; gives `pycuda.driver`.

        Raises
        ------
        EngineError
            If the context was given back.
        """
        if self._context is None:
            raise EngineError("The GPU's context was given back: open it again to use it.")
        self._context.push()
        try:
            yield self.cuda
        finally:
            self._leave()

    def _leave(self) -> None:
        try:
            self.cuda.Context.pop()
        except self.cuda.Error:
            # Given back meanwhile: pycuda then clears its stack, and says that nothing is on it.
            if self._context is not None:
                raise

    def admit(self, leave: Callable[[], None]) -> int:
        """Note something that must be freed before the context is; returns its ticket."""
        ticket = next(self._tickets)
        self._guests[ticket] = leave
        return ticket

    def dismiss(self, ticket: int) -> None:
        """Forget what has freed itself."""
        self._guests.pop(ticket, None)

    def close(self) -> None:
        """Free all that was made in the context, the last first, then the context; harmless twice.

        In a process forked from the owner it does nothing: a context is not inherited.
        """
        if self._context is None or os.getpid() != self._owner:
            return
        atexit.unregister(self.close)
        try:
            while self._guests:
                _, leave = self._guests.popitem()
                leave()
        finally:
            self._give_back()

    def _give_back(self) -> None:
        context, self._context = self._context, None
        if context is None:  # an engine that owns this context has just closed it
            return
        # While it is current, pycuda gives it back and clears its own stack in one step. The
        # driver's stack is not touched by that, as cuDevicePrimaryCtxRelease says.
        context.push()
        context.detach()
        self._pop_driver()


def open_context(index: int = 0) -> CudaContext:
    """Open a GPU with pycuda.

    Raises
    ------
    EngineError
        If pycuda is not installed, or there is no driver or no such device; the message says which
        and what to do.
    """
    try:
        import pycuda.driver as cuda  # noqa: PLC0415  # optional; needs a driver even to import
    except ImportError as error:
        advice = driver.ADVICE if "libcuda" in str(error) else _INSTALL
        raise EngineError(f"pycuda cannot be imported ({error}). {advice}") from error
    return CudaContext(cuda, index)
