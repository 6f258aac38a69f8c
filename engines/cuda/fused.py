"""The kernel in ``prepare.cu`` on a GPU, compiled when it is first used there."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.cuda.context import CudaContext
from engines.cuda.recipe import Recipe, Stack
from engines.runtime.protocol import EngineError

SOURCE = Path(__file__).with_name("prepare.cu")
PIXELS = ("int16", "uint16", "float32")
BLOCK = (32, 8, 1)  # a warp along a row, so that its reads lie side by side
_MOST_PLANES = 65535  # the z axis of a grid; CUDA Programming Guide, compute capabilities


def sizes_of(stack: Stack, recipe: Recipe) -> bytes:
    """Return the kernel's ``Sizes``: twelve 32-bit numbers."""
    by_row, by_column = recipe.tables
    return struct.pack(
        "<12i",
        *stack.shape,
        len(recipe.windows),
        recipe.height,
        recipe.width,
        *recipe.place,
        *recipe.fitted,
        by_row.weights.shape[1],
        by_column.weights.shape[1],
    )


def arrays_of(recipe: Recipe, lines: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
    """Return what the kernel reads beside the stack, in its order."""
    by_row, by_column = recipe.tables
    return (
        np.ascontiguousarray(lines, np.float32),
        recipe.steps,
        *(by_row.first, by_row.count, by_row.weights),
        *(by_column.first, by_column.count, by_column.weights),
    )


def refusal(stack: NDArray[Any], lines: NDArray[np.float32], recipe: Recipe) -> str | None:
    """Say why a stack cannot be prepared by a recipe, or None."""
    if stack.dtype.name not in PIXELS:
        return f"a stack of {stack.dtype} cannot be prepared; known are {', '.join(PIXELS)}"
    if stack.ndim != 3 or stack.shape[1:] != (recipe.rows, recipe.columns) or not len(stack):
        return (
            f"a stack of {stack.shape} was given; expected slices of "
            f"{recipe.rows} x {recipe.columns}, and at least one"
        )
    if lines.shape != (len(stack), 2):
        return f"slope and intercept came as {lines.shape} for {len(stack)} slices"
    if len(stack) * len(recipe.windows) > _MOST_PLANES:
        return f"{len(stack)} slices are too many at once: at most {_MOST_PLANES} planes"
    return None


class FusedPreparation:
    """Prepares stacks on the GPU. Call it from one thread at a time.

    Parameters
    ----------
    gpu : CudaContext
        Of this process; when it closes, the kernel goes with it.

    Raises
    ------
    EngineError
        If the kernel cannot be compiled here: pycuda asks CUDA's nvcc for that.
    """

    def __init__(self, gpu: CudaContext) -> None:
        from pycuda.compiler import SourceModule  # noqa: PLC0415  # the context is pycuda's too

        self._gpu = gpu
        self.milliseconds = 0.0
        text = SOURCE.read_text(encoding="utf-8")
        with gpu.current() as cuda:
            try:
                module = SourceModule(text, no_extern_c=True)
                self._kernels = {name: module.get_function(f"prepare_{name}") for name in PIXELS}
            except (cuda.Error, OSError) as error:
                raise EngineError(
                    f"{SOURCE.name} cannot be compiled for {gpu.name}: {error}. It needs CUDA's "
                    "nvcc on the PATH; on a Jetson it lies in /usr/local/cuda/bin."
                ) from error

    def prepare(
        self, stack: Stack, lines: NDArray[np.float32], recipe: Recipe
    ) -> NDArray[np.float32]:
        """Prepare a stack, as `engines.cuda.recipe.reference` does, to the bit.

        Raises
        ------
        EngineError
            If the stack does not fit the recipe, or the GPU fails.
        """
        said = refusal(stack, lines, recipe)
        if said is not None:
            raise EngineError(said)
        shape = (len(stack), len(recipe.windows), recipe.height, recipe.width)
        planes = np.empty(shape, np.float32)
        across, down, _ = BLOCK
        grid = (-(-recipe.width // across), -(-recipe.height // down), shape[0] * shape[1])
        with self._gpu.current() as cuda:
            began, ended = cuda.Event(), cuda.Event()
            held: list[Any] = []
            try:
                for array in (np.ascontiguousarray(stack), *arrays_of(recipe, lines)):
                    held.append(cuda.mem_alloc(array.nbytes))
                    cuda.memcpy_htod(held[-1], array)
                held.append(cuda.mem_alloc(planes.nbytes))
                began.record()
                sizes = np.frombuffer(sizes_of(stack, recipe), np.int32)
                self._kernels[stack.dtype.name](*held, sizes, block=BLOCK, grid=grid)
                ended.record()
                cuda.memcpy_dtoh(planes, held[-1])
                self.milliseconds = float(ended.time_since(began))
            except cuda.Error as error:
                raise EngineError(f"{self._gpu.name} could not prepare it: {error}") from error
            finally:
                for memory in held:
                    memory.free()
        return planes
