"""TensorRT, and TensorRT for RTX, with pycuda: the engine of a machine with an NVIDIA GPU.

Memory, stream and context are taken when an engine is loaded and given back when it closes; a run
takes nothing. Where shapes repeat, the run is a CUDA graph: TensorRT for RTX records it by itself,
for TensorRT it is recorded here. Timings come from events on the stream.
Source: TensorRT, Python API of `IExecutionContext`; Developer Guide, CUDA Graphs.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.build.modules import Flavour, PlanRefused, write_whole
from engines.build.modules import load as load_module
from engines.build.plan import Module
from engines.cuda.buffers import Buffers, Slot, plan
from engines.cuda.context import CudaContext, Recorded, open_context
from engines.cuda.driver import DriverError
from engines.cuda.stepping import Recording, Shapes, Step
from engines.runtime.content import read_checked
from engines.runtime.protocol import Array, EngineError, Precision, TensorSpec
from engines.runtime.tensors import check_feeds, check_results

log = logging.getLogger(__name__)

MEMORY = 2 << 30
"""Bytes that an engine's tensors may take, on the host and on the device each."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What a run took on the device, from events on its stream, in milliseconds."""

    upload: float
    compute: float
    download: float


class TensorRtEngine:
    """A built engine on this machine's GPU. Call it from one thread at a time.

    Use `load` to make one.
    """

    def __init__(
        self,
        source: Path,
        content: bytes,
        flavour: Flavour,
        gpu: CudaContext,
        *,
        owns_gpu: bool,
        precision: Precision,
        cache: Path | None,
        memory: int,
        dla_core: int | None = None,
    ) -> None:
        self.name = flavour.name
        self.precision: Precision = precision
        self.timing: Timing | None = None
        self._source = source
        self._flavour = flavour
        self._gpu = gpu
        self._owns_gpu = owns_gpu
        self._cache = cache
        self._dla_core = dla_core
        self._graph: Recorded | None = None
        self._recording = Recording(allowed=not flavour.records_itself)
        # What must be freed, the youngest first, while the context is current.
        self._made: list[Callable[[], None]] = []
        self._ticket = gpu.admit(self.close)
        self._open = True
        try:
            with self._working("load") as cuda:
                self._make(content, cuda, memory)
        except EngineError:
            self.close()
            raise

    def _make(self, content: bytes, cuda: Any, memory: int) -> None:
        flavour, gpu = self._flavour, self._gpu
        self._logger = flavour.kept_errors(lambda said: log.warning("%s: %s", self._source, said))
        self._runtime = flavour.module.Runtime(self._logger)
        self._made.append(lambda: delattr(self, "_runtime"))
        if self._dla_core is not None:  # or the engine would run on the first
            self._runtime.DLA_core = self._dla_core
        self._engine = self._runtime.deserialize_cuda_engine(content)
        self._made.append(lambda: delattr(self, "_engine"))
        if self._engine is None:
            raise EngineError(
                f"{self._source}: {flavour.name} {flavour.version} cannot read it on {gpu.name} "
                f"({gpu.capability}): {self._logger.said()}. An engine fits one version and one "
                "GPU: build it again here."
            )
        self._context, self._kernels = flavour.create_context(self._engine, self._cache)
        self._made.append(self._forget_context)
        if self._context is None:
            raise EngineError(f"{self._source}: no execution context: {self._logger.said()}.")
        takes, gives = tuple(self._input_slots()), tuple(self._output_slots())
        self.inputs = tuple(slot.spec for slot in takes)
        self.outputs = tuple(slot.spec for slot in gives)
        self._slots = {slot.spec.name: slot for slot in (*takes, *gives)}
        plan((*takes, *gives), limit=memory)
        self._buffers = Buffers(cuda, (*takes, *gives))
        self._made.append(self._buffers.free)
        for name in self._slots:
            self._context.set_tensor_address(name, self._buffers.address(name))
        self._stream = cuda.Stream()
        self._events = [cuda.Event() for _ in range(4)]
        self._made.append(self._forget_stream)

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model; see `engines.runtime.protocol.Engine.infer`.

        Raises
        ------
        EngineError
            Also if a shape is outside what the engine was built for.
        """
        if not self._open:
            raise EngineError(f"{self._source}: this engine is closed. Load it again to use it.")
        check_feeds(self.inputs, feeds)
        shapes = tuple(tuple(feeds[spec.name].shape) for spec in self.inputs)
        for spec, shape in zip(self.inputs, shapes, strict=True):
            refusal = self._slots[spec.name].refusal(shape)
            if refusal is not None:
                raise EngineError(refusal)
        with self._working("run"):
            results = self._run(feeds, shapes)
        check_results(str(self._source), results)
        return results

    @property
    def gpu(self) -> CudaContext:
        """The context that it runs in, for what else this process does there."""
        return self._gpu

    def warm_up(self) -> None:
        """Run on zeros of the smallest shape until the run is a recorded one."""
        zeros = {
            spec.name: np.zeros(self._slots[spec.name].smallest, spec.dtype) for spec in self.inputs
        }
        for _ in range(3):
            self.infer(zeros)
        with self._working("keep the kernels of"):
            self._keep_kernels()

    def close(self) -> None:
        """Free everything that this engine took, in the context it was taken in; harmless twice."""
        if not self._open:
            return
        self._open = False
        self._gpu.dismiss(self._ticket)
        try:
            with self._working("close"):
                while self._made:
                    self._made.pop()()
        finally:
            if self._owns_gpu:
                self._gpu.close()

    @contextlib.contextmanager
    def _working(self, what: str) -> Iterator[Any]:
        """Have the context current; what fails inside is an error of this engine."""
        with self._gpu.current() as cuda:
            try:
                yield cuda
            except (cuda.Error, DriverError, RuntimeError) as error:
                if isinstance(error, EngineError):
                    raise
                raise EngineError(
                    f"{self._source}: {self.name} could not {what} it on {self._gpu.name}: {error}"
                ) from error

    def _run(self, feeds: Mapping[str, Array], shapes: Shapes) -> dict[str, Array]:
        # No local name for an event: an exception keeps this frame, longer than the context lives.
        step = self._recording.step(shapes)
        if shapes != self._recording.shapes:
            self._forget_graph()
            for spec, shape in zip(self.inputs, shapes, strict=True):
                if not self._context.set_input_shape(spec.name, shape):
                    raise EngineError(f"Tensor {spec.name!r}: {shape} was refused by {self.name}.")
        wanted = {spec.name: self._output_shape(spec) for spec in self.outputs}
        self._events[0].record(self._stream)
        for spec in self.inputs:
            self._buffers.upload(spec.name, feeds[spec.name], self._stream)
        self._events[1].record(self._stream)
        self._recording = self._compute(step, shapes)
        self._events[2].record(self._stream)
        pinned = self._buffers.download(wanted, self._stream)
        self._events[3].record(self._stream)
        self._stream.synchronize()
        self.timing = Timing(
            *(float(self._events[mark + 1].time_since(self._events[mark])) for mark in range(3))
        )
        return {name: value.copy() for name, value in pinned.items()}

    def _compute(self, step: Step, shapes: Shapes) -> Recording:
        """Put the network on the stream; return what is then known of recording it."""
        if step is Step.RECORD:
            self._stream.synchronize()  # a recording begins with nothing under way
            try:
                self._graph = self._gpu.record(self._stream.handle, self._enqueue)
            except (DriverError, EngineError) as error:
                log.info("%s: runs without a CUDA graph: %s", self._source, error)
                self._enqueue()
                return self._recording.refused().after(shapes, recorded=False)
        if self._graph is not None:
            self._graph.launch()
        else:
            self._enqueue()
        return self._recording.after(shapes, recorded=self._graph is not None)

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise EngineError(
                f"{self._source}: {self.name} could not run it: {self._logger.said()}."
            )

    def _output_shape(self, spec: TensorSpec) -> tuple[int, ...]:
        shape = tuple(int(size) for size in self._context.get_tensor_shape(spec.name))
        refusal = self._slots[spec.name].refusal(shape)
        if refusal is not None:
            raise EngineError(refusal)
        return shape

    def _forget_stream(self) -> None:
        self._stream.synchronize()
        self._forget_graph()
        del self._events, self._stream

    def _forget_context(self) -> None:
        self._keep_kernels()
        del self._context, self._kernels

    def _forget_graph(self) -> None:
        if self._graph is not None:
            self._graph.free()
            self._graph = None

    def _keep_kernels(self) -> None:
        if self._kernels is None or self._cache is None:
            return
        try:
            write_whole(self._cache, bytes(self._kernels.serialize()))
        except OSError as error:  # the next start compiles them again; nothing else is lost
            log.warning("%s: compiled kernels cannot be kept: %s", self._cache, error)

    def _names(self, mode: str) -> list[str]:
        wanted = getattr(self._flavour.module.TensorIOMode, mode)
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        return [name for name in names if self._engine.get_tensor_mode(name) == wanted]

    def _spec(self, name: str) -> TensorSpec:
        theirs = self._engine.get_tensor_dtype(name)
        try:
            dtype = np.dtype(self._flavour.module.nptype(theirs))
        except TypeError as error:
            raise EngineError(f"{self._source}: tensor {name!r} has type {theirs}.") from error
        shape = tuple(int(size) for size in self._engine.get_tensor_shape(name))
        return TensorSpec(name, dtype, tuple(None if size < 0 else size for size in shape))

    def _input_slots(self) -> Iterator[Slot]:
        for name in self._names("INPUT"):
            spec = self._spec(name)
            if None not in spec.shape:  # no profile has anything to say of it
                fixed = tuple(size for size in spec.shape if size is not None)
                yield Slot(spec, fixed, fixed)
                continue
            shapes = self._engine.get_tensor_profile_shape(name, 0)
            smallest, _, largest = (tuple(int(size) for size in shape) for shape in shapes)
            yield Slot(spec, smallest, largest)

    def _output_slots(self) -> Iterator[Slot]:
        """Outputs grow with the inputs: their bounds are what the inputs' bounds give."""
        names = self._names("OUTPUT")
        bounds: list[dict[str, tuple[int, ...]]] = []
        for end in ("smallest", "largest"):
            for slot in self._input_slots():
                self._context.set_input_shape(slot.spec.name, getattr(slot, end))
            unknown = self._context.infer_shapes()
            found = {name: tuple(map(int, self._context.get_tensor_shape(name))) for name in names}
            open_ended = [name for name, shape in found.items() if min(shape, default=1) < 0]
            if unknown or open_ended:
                raise EngineError(
                    f"{self._source}: the size of {(*unknown, *open_ended)[0]!r} depends on the "
                    "data. Such a model cannot run with memory that is taken beforehand."
                )
            bounds.append(found)
        for name in names:
            yield Slot(self._spec(name), bounds[0][name], bounds[1][name])


def load(
    engine: Path,
    *,
    module: Module = "tensorrt",
    digest: str | None = None,
    precision: Precision = "fp32",
    gpu: CudaContext | None = None,
    cache: Path | None = None,
    memory: int = MEMORY,
    dla_core: int | None = None,
) -> TensorRtEngine:
    """Load a built engine.

    Parameters
    ----------
    engine : pathlib.Path
        What `engines.build` wrote, on this machine or one with the same GPU and version.
    module : str
        The module that built it: ``tensorrt`` or ``tensorrt_rtx``.
    digest : str, optional
        SHA-256 the file must have; the very bytes that were checked are loaded.
    precision : str
        What its graph computes in; the caller's knowledge.
    gpu : CudaContext, optional
        Of this process, shared by its engines; without, the engine opens one and closes it.
    cache : pathlib.Path, optional
        Where TensorRT for RTX keeps compiled kernels between starts; written at closing.
    memory : int
        Bytes that the tensors may take, on the host and on the device each.
    dla_core : int, optional
        The deep learning accelerator that the engine was built for.

    Returns
    -------
    TensorRtEngine

    Raises
    ------
    EngineError
        If the module, pycuda, the driver or a GPU is missing, the file is unreadable or another one
        than `digest` says, was built for another GPU or version, or needs more memory.
    """
    content = read_checked(
        engine, digest, remedy="The engine was replaced or damaged: build it again."
    )
    try:
        flavour = load_module(module)
    except PlanRefused as error:
        raise EngineError(f"{engine}: {error}") from error
    return TensorRtEngine(
        engine,
        content,
        flavour,
        gpu or open_context(),
        owns_gpu=gpu is None,
        precision=precision,
        cache=cache,
        memory=memory,
        dla_core=dla_core,
    )
