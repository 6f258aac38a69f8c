"""Slice after slice: runs of ONNX Runtime at shapes that come again, with the least of Python.

Around a network of one or two milliseconds each line of Python counts, because the convolutions
have just emptied the processor's caches of it. So what can be settled before the first run is: the
results are bound to one room, and what is asked of a feed and of the results is asked once each.
Whatever is out of the ordinary is left to the way that looks into everything.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from engines.runtime.protocol import Array, TensorSpec

if TYPE_CHECKING:
    import onnxruntime

_FEW = 256  # numbers; more are sooner looked at by numpy


class Repeated:
    """Runs of a model with one input, at one shape, that end in a few float32 numbers.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        Of the model.
    takes : TensorSpec
        Its input.
    shape : tuple of int
        Of what will be fed.
    gave : dict of numpy.ndarray
        What came of a run at that shape; see `fits`.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        takes: TensorSpec,
        shape: tuple[int, ...],
        gave: Mapping[str, Array],
    ) -> None:
        self.shape = shape
        self._session = session
        # Guards the room. An engine is called from one thread at a time; were it not, one
        # patient's result would be handed out as another's.
        self._turn = threading.Lock()
        self._name, self._dtype = takes.name, takes.dtype
        self._binding = session.io_binding()
        self._room = np.empty(sum(value.size for value in gave.values()), np.float32)
        self._places: list[tuple[str, Array]] = []
        begins = 0
        for name, value in gave.items():
            place = self._room[begins : begins + value.size].reshape(value.shape)
            self._binding.bind_output(name, "cpu", 0, place.dtype, place.shape, place.ctypes.data)
            self._places.append((name, place))
            begins += value.size

    def infer(self, value: Array) -> dict[str, Array] | None:
        """Run on an array of `shape`; None where its type or a result is not as it should be.

        Raises what ONNX Runtime raises.
        """
        if value.dtype is not self._dtype:
            return None
        with self._turn:
            self._binding.bind_cpu_input(self._name, value)
            self._session.run_with_iobinding(self._binding)
            # A sum is finite only where all that it sums is.
            if not isfinite(sum(self._room.tolist())):
                return None
            return {name: place.copy() for name, place in self._places}


def fits(
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    foretold: Mapping[str, list[int] | None],
    gave: Mapping[str, Array],
) -> bool:
    """Return whether a run can be repeated so: one input, few float32 results, shaped as foretold.

    A result whose shape hangs on the values that are fed cannot be bound beforehand.
    """
    return (
        len(inputs) == 1
        and all(spec.dtype == np.float32 for spec in outputs)
        and all(list(value.shape) == foretold[name] for name, value in gave.items())
        and sum(value.size for value in gave.values()) <= _FEW
    )
