"""What every engine is: tensors in, tensors out, both known up front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Precision = Literal["fp32", "fp16", "int8"]

LOGITS = "logits"
"""The output tensor that findings are read from: float32 (n, outputs)."""


class EngineError(RuntimeError):
    """An engine cannot be loaded or cannot run; the message says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor's name, type and shape.

    Parameters
    ----------
    name : str
        As the model names it.
    dtype : numpy.dtype
        Element type.
    shape : tuple of int or None
        None where the axis is free (the batch).
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        sizes = ", ".join("n" if size is None else str(size) for size in self.shape)
        return f"{self.dtype} ({sizes})"

    def refusal(self, array: Array) -> str | None:
        """Say why `array` is not this tensor, or None where it is.

        A free axis takes any size from 1.
        """
        if array.dtype == self.dtype and len(array.shape) == len(self.shape):
            # A plain loop: this runs before every inference.
            for have, want in zip(array.shape, self.shape, strict=True):
                if have != want and (want is not None or have < 1):
                    break
            else:
                return None
        got = ", ".join(str(size) for size in array.shape)
        return f"Tensor {self.name!r}: expected {self}, got {array.dtype} ({got})."


class Engine(Protocol):
    """A loaded model. One thread at a time may call it; different engines are independent."""

    @property
    def name(self) -> str:
        """The backend, such as ``onnxruntime``."""

    @property
    def precision(self) -> Precision:
        """What the graph computes in."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What `infer` takes."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What `infer` gives."""

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model.

        Parameters
        ----------
        feeds : mapping of str to ndarray
            One array for each of `inputs`, of its type and shape.

        Returns
        -------
        dict of str to ndarray
            One array for each of `outputs`.

        Raises
        ------
        EngineError
            If a tensor is missing, unknown, or of another type or shape, if the run fails, if an
            output is not finite, or if the engine is closed.
        """

    def warm_up(self) -> None:
        """Run once on zeros, where the sizes are known, so that no patient waits for it."""

    def close(self) -> None:
        """Free everything; closing twice is harmless."""
