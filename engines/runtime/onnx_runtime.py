"""ONNX Runtime on the CPU: the engine that runs everywhere.

Memory matters more than the last millisecond beside a scanner: the arena is off, so that what one
batch used is given back, and threads do not spin while they wait for the next slice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.runtime.protocol import Array, EngineError, Precision, TensorSpec

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
        self.inputs = tuple(_spec(node, source) for node in session.get_inputs())
        self.outputs = tuple(_spec(node, source) for node in session.get_outputs())

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model; see `engines.runtime.protocol.Engine.infer`."""
        if self._session is None:
            raise EngineError(f"{self._source}: this engine is closed. Load it again to use it.")
        self._check(feeds)
        wanted = [output.name for output in self.outputs]
        try:
            values = self._session.run(wanted, dict(feeds))
        except self._failures as error:
            raise EngineError(f"{self._source}: ONNX Runtime could not run it: {error}") from error
        found: dict[str, Array] = dict(zip(wanted, values, strict=True))
        for name, value in found.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise EngineError(
                    f"{self._source}: output {name!r} holds values that are not finite numbers. "
                    "Check the model and its input range; this result must not be used."
                )
        return found

    def warm_up(self) -> None:
        """Run once on zeros, with 1 for every free axis."""
        zeros = {}
        for spec in self.inputs:
            sizes = [1 if size is None else size for size in spec.shape]
            zeros[spec.name] = np.zeros(sizes, spec.dtype)
        self.infer(zeros)

    def close(self) -> None:
        """Free the session; closing twice is harmless."""
        self._session = None

    def _check(self, feeds: Mapping[str, Array]) -> None:
        names = [spec.name for spec in self.inputs]
        for name in feeds:
            if name not in names:
                raise EngineError(f"Tensor {name!r}: not an input; expected {', '.join(names)}.")
        for spec in self.inputs:
            if spec.name not in feeds:
                raise EngineError(f"Tensor {spec.name!r}: missing; expected {spec}.")
            refusal = spec.refusal(feeds[spec.name])
            if refusal is not None:
                raise EngineError(refusal)


def load(
    model: Path,
    *,
    threads: int = 1,
    digest: str | None = None,
    precision: Precision = "fp32",
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

    Returns
    -------
    OnnxRuntimeEngine

    Raises
    ------
    EngineError
        If onnxruntime is not installed, the file is unreadable, damaged or another one than
        `digest` says, or `threads` is out of range.
    """
    if not 1 <= threads <= _MOST_THREADS:
        raise EngineError(f"threads = {threads} is not a whole number from 1 to {_MOST_THREADS}.")
    try:
        import onnxruntime  # noqa: PLC0415  # heavy; imported when an engine is loaded
        from onnxruntime.capi import onnxruntime_pybind11_state  # noqa: PLC0415
    except ImportError as error:
        raise EngineError(
            f"ONNX Runtime cannot be imported ({error}). Install it with: pip install onnxruntime"
        ) from error
    try:
        content = model.read_bytes()
    except OSError as error:
        raise EngineError(f"{model}: cannot be read: {error.strerror}.") from error
    if digest is not None:
        found = hashlib.sha256(content).hexdigest()
        if found != digest:
            raise EngineError(
                f"{model}: its SHA-256 is {found}, expected {digest}. The model was replaced or "
                "damaged: install its package again."
            )
    failures = _failures(onnxruntime_pybind11_state)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = _FATAL_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except failures as error:
        raise EngineError(
            f"{model}: ONNX Runtime {onnxruntime.__version__} cannot load it: {error}. "
            "Install the model package again, or export it for this version."
        ) from error
    return OnnxRuntimeEngine(session, model, precision, failures)


def _failures(module: ModuleType) -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises: exceptions of its own, each straight from Exception."""
    own = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    return (*own, RuntimeError, ValueError)


def _spec(node: Any, source: Path) -> TensorSpec:
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        raise EngineError(
            f"{source}: tensor {node.name!r} has type {node.type}; "
            f"known are {', '.join(sorted(_DTYPES))}."
        )
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorSpec(node.name, np.dtype(dtype), shape)
