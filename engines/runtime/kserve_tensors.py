"""Tensors as the KServe V2 protocol writes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from engines.runtime.protocol import Array, EngineError, TensorSpec

# Data type of the protocol: numpy's, and where a server may put its numbers one by one.
_TYPES: dict[str, tuple[Any, str | None]] = {
    "BOOL": (np.bool_, "bool_contents"),
    "UINT8": (np.uint8, "uint_contents"),
    "INT8": (np.int8, "int_contents"),
    "INT32": (np.int32, "int_contents"),
    "INT64": (np.int64, "int64_contents"),
    "FP16": (np.float16, None),
    "FP32": (np.float32, "fp32_contents"),
    "FP64": (np.float64, "fp64_contents"),
}
_NAMES = {np.dtype(dtype): name for name, (dtype, _) in _TYPES.items()}


def spec_of(described: Any, where: str) -> TensorSpec:
    """Read a tensor's description from a server's metadata; sizes below 0 are free axes.

    Raises
    ------
    EngineError
        If the type is none that an engine can take or give.
    """
    if described.datatype not in _TYPES:
        raise EngineError(
            f"{where}: tensor {described.name!r} has type {described.datatype}; "
            f"known are {', '.join(sorted(_TYPES))}."
        )
    shape = tuple(None if size < 0 else int(size) for size in described.shape)
    return TensorSpec(described.name, np.dtype(_TYPES[described.datatype][0]), shape)


def write(request: Any, name: str, array: Array) -> None:
    """Add an array to a ``ModelInferRequest``, as raw little-endian bytes in row order."""
    request.inputs.add(name=name, datatype=_NAMES[array.dtype], shape=array.shape)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    request.raw_input_contents.append(little.tobytes())  # in row order whatever the memory's


def read(response: Any, spec: TensorSpec, where: str) -> Array:
    """Return one output of a ``ModelInferResponse``.

    Raises
    ------
    EngineError
        If the output is missing, of another type or shape than the server had said, or its numbers
        are not as many as its shape says.
    """
    names = [output.name for output in response.outputs]
    if spec.name not in names:
        raise EngineError(
            f"{where}: the answer lacks output {spec.name!r}; it has {', '.join(names) or 'none'}."
        )
    place = names.index(spec.name)
    output = response.outputs[place]
    if output.datatype not in _TYPES:
        raise EngineError(f"{where}: output {spec.name!r} came as {output.datatype}.")
    dtype, field = _TYPES[output.datatype]
    shape = tuple(int(size) for size in output.shape)
    if response.raw_output_contents:
        raw = (
            response.raw_output_contents[place]
            if place < len(response.raw_output_contents)
            else b""
        )
        whole = len(raw) - len(raw) % np.dtype(dtype).itemsize
        flat = np.frombuffer(raw[:whole], np.dtype(dtype).newbyteorder("<"))
    else:
        flat = np.array(getattr(output.contents, field) if field else (), dtype)
    if min(shape, default=1) < 0 or flat.size != int(np.prod(shape, dtype=np.int64)):
        raise EngineError(
            f"{where}: output {spec.name!r} came with {flat.size} numbers for the shape {shape}."
        )
    array = flat.astype(dtype).reshape(shape)
    refusal = spec.refusal(array)
    if refusal is not None:
        raise EngineError(f"{where}: the answer is not what the server described. {refusal}")
    return array
