"""Slice after slice: runs of ONNX Runtime at a shape that comes again, with the least of Python.

Around a network of one or two milliseconds each line of Python counts, because the convolutions
have just emptied the processor's caches of it: what takes 5 microseconds in a loop takes 30 there.
So a feed is held against what fitted the last time, the options of a run are made once, and few
results are looked at without numpy. A binding is not made: looking its tensors up costs more than
it saves where little comes out. Whatever is out of the ordinary is left to the way that looks into
everything and names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING

from engines.runtime.protocol import Array, TensorSpec

if TYPE_CHECKING:
    import onnxruntime

_FEW = 256  # numbers; more are sooner looked at by numpy


class Repeated:
    """Runs of a model with one input, at one shape, that end in a few numbers.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        Of the model.
    takes : TensorSpec
        Its input.
    shape : tuple of int
        Of what will be fed.
    gives : list of str
        Its outputs.
    failures : tuple of type
        What ONNX Runtime raises.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        takes: TensorSpec,
        shape: tuple[int, ...],
        gives: list[str],
        failures: tuple[type[Exception], ...],
    ) -> None:
        import onnxruntime  # noqa: PLC0415  # heavy; here it has been imported for the session

        self._name, self._dtype, self._shape = takes.name, takes.dtype, shape
        self._gives = gives
        self._failures = failures
        self._options = onnxruntime.RunOptions()
        # The session inside, where this version has one: the wrapper around it only looks up the
        # names, which the session does again.
        self._run = getattr(session, "_sess", session).run

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array] | None:
        """Run; None where a feed or a result is not as it should be, or the run failed."""
        value = feeds.get(self._name)
        if (
            value is None
            or value.dtype is not self._dtype
            or value.shape != self._shape
            or len(feeds) != 1
        ):
            return None
        try:
            found = self._run(self._gives, {self._name: value}, self._options)
        except self._failures:
            return None
        total = 0.0
        for result in found:
            total += result.item() if result.size == 1 else sum(result.ravel().tolist())
        # A sum is finite only where all that it sums is.
        return dict(zip(self._gives, found, strict=True)) if isfinite(total) else None


def are_few(results: Mapping[str, Array]) -> bool:
    """Return whether results are sooner looked at one by one."""
    return sum(value.size for value in results.values()) <= _FEW
