"""Which memory an engine needs, as a plan; and that memory, taken once and kept.

Host memory is pinned, so that copies run beside computing and at the full speed of the bus. Nothing
is taken during a run: the addresses stay, as a recorded graph requires.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engines.runtime.protocol import Array, EngineError, TensorSpec


@dataclass(frozen=True, slots=True)
class Slot:
    """The memory of one tensor.

    Parameters
    ----------
    spec : TensorSpec
        The tensor.
    smallest, largest : tuple of int
        The shapes between which it may lie; an output's are those of the inputs' shapes.
    """

    spec: TensorSpec
    smallest: tuple[int, ...]
    largest: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes at its largest, at least 1: an address must be one's own."""
        return max(math.prod(self.largest) * self.spec.dtype.itemsize, 1)

    def refusal(self, shape: tuple[int, ...]) -> str | None:
        """Say why a shape of the right rank cannot be run, or None."""
        bounds = zip(self.smallest, shape, self.largest, strict=True)
        if all(low <= size <= high for low, size, high in bounds):
            return None
        return (
            f"Tensor {self.spec.name!r}: {shape} is outside what this engine was built for, "
            f"{self.smallest} to {self.largest}. Run fewer at once, or build it for that size."
        )


def plan(slots: Sequence[Slot], *, limit: int) -> int:
    """Return the bytes that tensors take, on the host and on the device each.

    Raises
    ------
    EngineError
        If it is more than `limit`.
    """
    total = sum(slot.size for slot in slots)
    if total > limit:
        largest = max(slots, key=lambda slot: slot.size)
        raise EngineError(
            f"The tensors take {total >> 20} MiB, above the {limit >> 20} MiB allowed; the largest "
            f"is {largest.spec.name!r} {largest.largest} with {largest.size >> 20} MiB. Build the "
            "engine for a smaller batch or volume."
        )
    return total


class Buffers:
    """Pinned and device memory for each slot. Made, used and freed with the context current.

    Parameters
    ----------
    cuda : module
        `pycuda.driver`.
    slots : sequence of Slot
        One for each tensor.

    Raises
    ------
    pycuda.driver.Error
        If the memory cannot be had; none of it is kept then.
    """

    def __init__(self, cuda: Any, slots: Sequence[Slot]) -> None:
        self._cuda = cuda
        self._slots = {slot.spec.name: slot for slot in slots}
        self._host: dict[str, Any] = {}
        self._device: dict[str, Any] = {}
        try:
            for slot in slots:
                self._host[slot.spec.name] = cuda.pagelocked_empty(slot.size, np.uint8)
                self._device[slot.spec.name] = cuda.mem_alloc(slot.size)
        except cuda.Error:
            self.free()
            raise

    def address(self, name: str) -> int:
        """Where a tensor lies on the device."""
        return int(self._device[name])

    def view(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return a tensor's pinned memory as an array of that shape."""
        dtype = self._slots[name].spec.dtype
        size = math.prod(shape) * dtype.itemsize
        array: Array = self._host[name][:size].view(dtype).reshape(shape)
        return array

    def upload(self, name: str, array: Array, stream: Any) -> None:
        """Put an array into pinned memory and on its way to the device."""
        pinned = self.view(name, array.shape)
        np.copyto(pinned, array)  # whatever the order of its memory
        self._cuda.memcpy_htod_async(self._device[name], pinned, stream)

    def download(self, shapes: Mapping[str, tuple[int, ...]], stream: Any) -> dict[str, Array]:
        """Put tensors on their way from the device; valid when the stream is done, until reused."""
        found = {}
        for name, shape in shapes.items():
            found[name] = self.view(name, shape)
            self._cuda.memcpy_dtoh_async(found[name], self._device[name], stream)
        return found

    def free(self) -> None:
        """Give it all back; harmless twice."""
        while self._device:
            self._device.popitem()[1].free()
        while self._host:
            _, pinned = self._host.popitem()
            pinned.base.free()


class Kept:
    """Device memory by name: taken when it is first needed, larger when more is put there.

    To take and to free memory makes the whole device wait; from slice to slice none is taken. Used
    and freed with the context current.

    Parameters
    ----------
    cuda : module
        `pycuda.driver`.
    """

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self._places: dict[str, tuple[Any, int]] = {}

    def place(self, name: str, size: int) -> Any:
        """Return memory for so many bytes; what was there before is lost.

        Raises
        ------
        pycuda.driver.Error
            If it cannot be had; the name has none then.
        """
        memory, held = self._places.get(name, (None, 0))
        if held < size:
            if memory is not None:
                del self._places[name]
                memory.free()
            memory = self._cuda.mem_alloc(size)
            self._places[name] = memory, size
        return memory

    def upload(self, name: str, array: Array) -> Any:
        """Put an array on the device, and return where it is."""
        memory = self.place(name, array.nbytes)
        self._cuda.memcpy_htod(memory, array)
        return memory

    def free(self) -> None:
        """Give it all back; harmless twice."""
        while self._places:
            self._places.popitem()[1][0].free()
