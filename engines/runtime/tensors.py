"""What every engine refuses, before a run and after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from engines.runtime.protocol import Array, EngineError, TensorSpec


def check_feeds(inputs: Sequence[TensorSpec], feeds: Mapping[str, Array]) -> None:
    """Hold what is to be run against what the model takes.

    Raises
    ------
    EngineError
        If a tensor is unknown, missing, or of another type or shape; the message names it.
    """
    names = [spec.name for spec in inputs]
    for name in feeds:
        if name not in names:
            raise EngineError(f"Tensor {name!r}: not an input; expected {', '.join(names)}.")
    for spec in inputs:
        if spec.name not in feeds:
            raise EngineError(f"Tensor {spec.name!r}: missing; expected {spec}.")
        refusal = spec.refusal(feeds[spec.name])
        if refusal is not None:
            raise EngineError(refusal)


def check_results(source: str, results: Mapping[str, Array]) -> None:
    """Refuse a result that holds anything but finite numbers.

    Raises
    ------
    EngineError
        If an output of a floating type holds NaN or an infinity; the message names it.
    """
    for name, value in results.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise EngineError(
                f"{source}: output {name!r} holds values that are not finite numbers. "
                "Check the model and its input range; this result must not be used."
            )


def zeros(inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Return the smallest feeds that the model takes: zeros, with 1 for every free axis."""
    return {
        spec.name: np.zeros([1 if size is None else size for size in spec.shape], spec.dtype)
        for spec in inputs
    }
