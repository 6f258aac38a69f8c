"""What every engine refuses, before a run and after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np

from engines.runtime.protocol import Array, EngineError, TensorSpec

_FEW = 256


def check_feeds(inputs: Sequence[TensorSpec], feeds: Mapping[str, Array]) -> None:
    """Hold what is to be run against what the model takes.

    Raises
    ------
    EngineError
        If a tensor is unknown, missing, or of another type or shape; the message names it.
    """
    # Before every inference: what fits is passed quickly, and only what does not is looked into.
    if len(feeds) != len(inputs) or not all(spec.name in feeds for spec in inputs):
        raise EngineError(_misnamed(inputs, feeds))
    for spec in inputs:
        refusal = spec.refusal(feeds[spec.name])
        if refusal is not None:
            raise EngineError(refusal)


def _misnamed(inputs: Sequence[TensorSpec], feeds: Mapping[str, Array]) -> str:
    names = [spec.name for spec in inputs]
    unknown = next((name for name in feeds if name not in names), None)
    if unknown is not None:
        return f"Tensor {unknown!r}: not an input; expected {', '.join(names)}."
    missing = next(spec for spec in inputs if spec.name not in feeds)
    return f"Tensor {missing.name!r}: missing; expected {missing}."


def check_results(source: object, results: Mapping[str, Array]) -> None:
    """Refuse a result that holds anything but finite numbers.

    Raises
    ------
    EngineError
        If an output of a floating type holds NaN or an infinity; the message names it.
    """
    for name, value in results.items():
        if value.dtype.kind == "f" and not _finite(value):
            raise EngineError(
                f"{source}: output {name!r} holds values that are not finite numbers. "
                "Check the model and its input range; this result must not be used."
            )


def _finite(value: Array) -> bool:
    if value.size <= _FEW:  # sooner done one by one than by a numpy that was not just used
        return all(map(isfinite, value.ravel().tolist()))
    return bool(np.isfinite(value).all())


def zeros(inputs: Sequence[TensorSpec]) -> dict[str, Array] | None:
    """Return feeds of zeros, one of a batch; None where more than the batch is free.

    Which sizes a network takes there only its package knows: a U-Net fails on a single pixel.
    """
    if any(size is None for spec in inputs for size in spec.shape[1:]):
        return None
    return {
        spec.name: np.zeros([1 if size is None else size for size in spec.shape], spec.dtype)
        for spec in inputs
    }
