"""ONNX Runtime on the CPU: the engine that runs everywhere.

Beside a scanner other programs want the machine too: every engine has an arena of its own with a
bound, which is given back whole when the engine closes, and threads that spin only while a run is
under way. Results are written straight into the arrays that are handed out (IO binding), which
halves the memory of a volume's logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.runtime.content import read_checked
from engines.runtime.protocol import Array, EngineError, Precision, TensorSpec
from engines.runtime.repeated import Repeated, are_few
from engines.runtime.tensors import check_feeds, check_results, zeros

if TYPE_CHECKING:
    import onnxruntime

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
_FATAL_ONLY = 4  # OrtLoggingLevel: 0 verbose to 4 fatal; errors come as exceptions
_MOST_THREADS = 64
_SAME_AS_REQUESTED = 1  # ArenaExtendStrategy: grow by what is asked for, not by powers of two
_LEAST_MEMORY = 1 << 20

_WORTH_A_BINDING = 1 << 20  # bytes

MEMORY = 4 << 30
"""Bytes that an engine's arena may hold unless it is told otherwise."""


class OnnxRuntimeEngine:
    """A model in ONNX Runtime's CPU provider. Call it from one thread at a time.

    Use `load` to make one.
    """

    name = "onnxruntime"

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        source: Path,
        precision: Precision,
        failures: tuple[type[Exception], ...],
    ) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self._failures = failures
        self._source = source
        self.precision: Precision = precision
        takes, gives = session.get_inputs(), session.get_outputs()
        self.inputs = tuple(_spec(node, source) for node in takes)
        self.outputs = tuple(_spec(node, source) for node in gives)
        self._wanted = [spec.name for spec in self.outputs]
        self._axes = {node.name: tuple(node.shape) for node in (*takes, *gives)}
        self._names_hold = True
        self._repeated: Repeated | None = None

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model; see `engines.runtime.protocol.Engine.infer`."""
        if self._repeated is not None:
            found = self._repeated.infer(feeds)
            if found is not None:
                return found  # otherwise it is told below what is wrong
        if self._session is None:
            raise EngineError(f"{self._source}: this engine is closed. Load it again to use it.")
        check_feeds(self.inputs, feeds)
        given = {name: np.ascontiguousarray(value) for name, value in feeds.items()}
        try:
            results = self._run(self._session, given)
        except self._failures as error:
            raise EngineError(f"{self._source}: ONNX Runtime could not run it: {error}") from error
        check_results(self._source, results)
        return results

    def warm_up(self) -> None:
        """Run once on zeros; a model that leaves more than its batch free waits for its first."""
        feeds = zeros(self.inputs)
        if feeds is not None:
            self.infer(feeds)

    def close(self) -> None:
        """Free the session; closing twice is harmless."""
        self._session = self._repeated = None

    def _run(
        self, session: onnxruntime.InferenceSession, given: Mapping[str, Array]
    ) -> dict[str, Array]:
        sizes: dict[str, int] = {}
        for name, value in given.items():
            sizes.update(_named(self._axes[name], value.shape))
        shapes = {
            spec.name: _resolved(self._axes[spec.name], sizes) if self._names_hold else None
            for spec in self.outputs
        }
        if not any(_is_large(shapes[spec.name], spec.dtype) for spec in self.outputs):
            # A small result is copied faster than a binding is made for it.
            results = dict(zip(self._wanted, session.run(self._wanted, given), strict=True))
            if len(self.inputs) == 1 and are_few(results):
                takes = self.inputs[0]
                usual = given[takes.name].shape
                self._repeated = Repeated(session, takes, usual, self._wanted, self._failures)
            return results
        binding = session.io_binding()
        for name, value in given.items():
            binding.bind_cpu_input(name, value)
        ours: dict[str, Array] = {}
        for spec in self.outputs:
            shape = shapes[spec.name]
            if shape is None:  # an axis that only the run can tell
                binding.bind_output(spec.name)
                continue
            room = ours[spec.name] = np.empty(shape, spec.dtype)
            binding.bind_output(spec.name, "cpu", 0, spec.dtype, shape, room.ctypes.data)
        try:
            session.run_with_iobinding(binding)
        except self._failures:
            if not ours:
                raise
            return self._run_without_names(session, given)
        if len(ours) < len(self.outputs):
            values = binding.copy_outputs_to_cpu()
            theirs = zip(self.outputs, values, strict=True)
            ours |= {spec.name: value for spec, value in theirs if spec.name not in ours}
        return {spec.name: ours[spec.name] for spec in self.outputs}

    def _run_without_names(
        self, session: onnxruntime.InferenceSession, given: Mapping[str, Array]
    ) -> dict[str, Array]:
        """Have ONNX Runtime make the room, from now on where it helps.

        Exporters have been seen to give two axes of different sizes one name.
        """
        self._names_hold = False
        try:
            return self._run(session, given)
        except self._failures:
            self._names_hold = True
            raise


def load(
    model: Path,
    *,
    threads: int = 1,
    digest: str | None = None,
    precision: Precision = "fp32",
    memory: int = MEMORY,
) -> OnnxRuntimeEngine:
    """Load an ONNX model.

    Parameters
    ----------
    model : pathlib.Path
        The ONNX file, weights inside.
    threads : int
        Threads for one run, 1 to 64.
    digest : str, optional
        SHA-256 the file must have. The very bytes that were checked are the ones loaded, so a file
        replaced in between is never served.
    precision : str
        What the graph computes in; the graph is the caller's knowledge.
    memory : int
        Bytes that weights and activations may take together, 1 MiB at least. A run that would need
        more is refused; it does not take the machine's memory.

    Returns
    -------
    OnnxRuntimeEngine

    Raises
    ------
    EngineError
        If onnxruntime is not installed, the file is unreadable, damaged or another one than
        `digest` says, or `threads` or `memory` is out of range.
    """
    _check_bounds(threads, memory)
    content = read(model, digest=digest)
    return load_content(content, model, threads=threads, precision=precision, memory=memory)


def read(model: Path, *, digest: str | None = None) -> bytes:
    """Return the bytes of an ONNX file.

    Raises
    ------
    EngineError
        If it is unreadable, or another file than `digest`, a SHA-256, says.
    """
    return read_checked(
        model,
        digest,
        remedy="The model was replaced or damaged: install its package again.",
    )


def load_content(
    content: bytes,
    model: Path,
    *,
    threads: int = 1,
    precision: Precision = "fp32",
    memory: int = MEMORY,
) -> OnnxRuntimeEngine:
    """Load a model that is in memory, as `load` does; `model` is what errors call it.

    Raises
    ------
    EngineError
        If onnxruntime is not installed, the model is damaged, or `threads` or `memory` is out of
        range.
    """
    _check_bounds(threads, memory)
    try:
        import onnxruntime  # noqa: PLC0415  # heavy; imported when an engine is loaded
        from onnxruntime.capi import onnxruntime_pybind11_state  # noqa: PLC0415
    except ImportError as error:
        raise EngineError(
            f"ONNX Runtime cannot be imported ({error}). Install it with: pip install onnxruntime"
        ) from error
    failures = _failures(onnxruntime_pybind11_state)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    # Waiting threads spin between the operators of a run, where it pays, and not between runs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.use_env_allocators", "1")
    _register_arena(onnxruntime_pybind11_state, memory)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except failures as error:
        raise EngineError(
            f"{model}: ONNX Runtime {onnxruntime.__version__} cannot load it: {error}. "
            "Install the model package again, or export it for this version."
        ) from error
    return OnnxRuntimeEngine(session, model, precision, failures)


def _check_bounds(threads: int, memory: int) -> None:
    if not 1 <= threads <= _MOST_THREADS:
        raise EngineError(f"threads = {threads} is not a whole number from 1 to {_MOST_THREADS}.")
    if memory < _LEAST_MEMORY:
        raise EngineError(
            f"memory = {memory} is not a whole number from {_LEAST_MEMORY}, in bytes."
        )


def installed_version() -> str:
    """Return ONNX Runtime's version, as in ``1.23.2``.

    Raises
    ------
    EngineError
        If it is not installed.
    """
    try:
        import onnxruntime  # noqa: PLC0415  # heavy; imported when it is asked for
    except ImportError as error:
        raise EngineError(
            f"ONNX Runtime cannot be imported ({error}). Install it with: pip install onnxruntime"
        ) from error
    return str(onnxruntime.__version__)


def _failures(module: ModuleType) -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises: exceptions of its own, each straight from Exception."""
    own = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    return (*own, RuntimeError, ValueError)


def _register_arena(module: ModuleType, memory: int) -> None:
    """Make the arena that the next session takes.

    A session keeps the allocator that is registered when it is made, so each has its own, and the
    arena goes with its session.
    """
    config = module.OrtArenaCfg({"max_mem": memory, "arena_extend_strategy": _SAME_AS_REQUESTED})
    where = module.OrtMemoryInfo(
        "Cpu", module.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, module.OrtMemType.DEFAULT
    )
    module.create_and_register_allocator(where, config)


def _is_large(shape: list[int] | None, dtype: np.dtype[Any]) -> bool:
    """Return whether a result is worth a binding; one that only the run can tell is not."""
    return shape is not None and prod(shape) * dtype.itemsize >= _WORTH_A_BINDING


def _named(axes: tuple[int | str | None, ...], shape: tuple[int, ...]) -> dict[str, int]:
    """Return the sizes of the axes that have a name."""
    return {axis: size for axis, size in zip(axes, shape, strict=True) if isinstance(axis, str)}


def _resolved(axes: tuple[int | str | None, ...], sizes: Mapping[str, int]) -> list[int] | None:
    """Return the shape that an output will have, or None where it cannot be known yet."""
    found = [axis if isinstance(axis, int) else sizes.get(axis or "") for axis in axes]
    known = [size for size in found if size is not None]
    return known if len(known) == len(axes) else None


def _spec(node: Any, source: Path) -> TensorSpec:
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        raise EngineError(
            f"{source}: tensor {node.name!r} has type {node.type}; "
            f"known are {', '.join(sorted(_DTYPES))}."
        )
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorSpec(node.name, np.dtype(dtype), shape)
