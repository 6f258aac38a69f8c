"""The kernel in ``prepare.cu`` on a GPU, compiled when it is first used there."""

from __future__ import annotations

import functools
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.cuda.buffers import Kept
from engines.cuda.context import CudaContext
from engines.cuda.recipe import Recipe, Stack
from engines.runtime.protocol import EngineError

SOURCE = Path(__file__).with_name("prepare.cu")
PIXELS = ("int16", "uint16", "float32")
BLOCK = (32, 8, 1)  # a warp along a row, so that its reads lie side by side
_CUDA = "/usr/local/cuda/bin"  # where JetPack puts it
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


def tables_of(recipe: Recipe) -> tuple[NDArray[Any], ...]:
    """Return what the kernel reads beside the stack and its lines, in its order."""
    by_row, by_column = recipe.tables
    return (
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


@functools.cache
def compiled_for(architecture: str) -> bytes:
    """Compile the kernel, once for a process.

    Nothing is kept on the disk: a service has no home folder for pycuda's cache.

    Raises
    ------
    OSError
        If nvcc cannot be run.
    pycuda.driver.CompileError
        If it refuses the source.
    """
    from pycuda.compiler import compile as compile_source  # noqa: PLC0415  # needs CUDA

    # A service's PATH does not have it.
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path=_CUDA) or "nvcc"
    text = SOURCE.read_text(encoding="utf-8")
    code: bytes = compile_source(
        text, nvcc=nvcc, no_extern_c=True, arch=architecture, cache_dir=False
    )
    return code


class FusedPreparation:
    """Prepares stacks on the GPU. Call it from one thread at a time.

    Parameters
    ----------
    gpu : CudaContext
        Of this process; when it closes, the kernel goes first.
    compile_for : callable
        Returns the kernel as machine code of an architecture, such as ``sm_87``.

    Raises
    ------
    EngineError
        If the kernel cannot be compiled here: pycuda asks CUDA's nvcc for that.
    """

    def __init__(
        self, gpu: CudaContext, *, compile_for: Callable[[str], bytes] = compiled_for
    ) -> None:
        self._gpu = gpu
        self.milliseconds = 0.0
        self._recipe: Recipe | None = None  # whose tables are on the device
        self._tables: list[Any] = []
        self._kernels: dict[str, Any] = {}
        # pycuda frees these with their last reference: it is here alone, and goes in the context.
        self._events: list[Any] = []
        self._module: Any = None
        with gpu.current() as cuda:
            self._kept = Kept(cuda)
            try:
                code = compile_for(gpu.capability.replace("SM", "sm_"))
                self._module = cuda.module_from_buffer(code)
                self._kernels = {
                    name: self._module.get_function(f"prepare_{name}") for name in PIXELS
                }
                self._events = [cuda.Event(), cuda.Event()]
            except (cuda.Error, OSError) as error:
                self._forget()
                raise EngineError(
                    f"{SOURCE.name} cannot be compiled for {gpu.name}: {error}. It needs CUDA's "
                    f"nvcc, on the PATH or in {_CUDA}."
                ) from error
        self._ticket = gpu.admit(self.close)

    def close(self) -> None:
        """Unload the kernel and free its memory, in the context of both; harmless twice."""
        if self._kernels:
            self._gpu.dismiss(self._ticket)
            with self._gpu.current():
                self._forget()

    def _forget(self) -> None:
        self._kernels, self._events = {}, []
        self._module = None
        self._kept.free()

    def prepare(
        self, stack: Stack, lines: NDArray[np.float32], recipe: Recipe
    ) -> NDArray[np.float32]:
        """Prepare a stack, as `engines.cuda.recipe.reference` does, to the bit.

        Raises
        ------
        EngineError
            If the stack does not fit the recipe, the GPU fails, or the kernel was unloaded.
        """
        if not self._kernels:
            raise EngineError("The kernel was unloaded with its context.")
        said = refusal(stack, lines, recipe)
        if said is not None:
            raise EngineError(said)
        shape = (len(stack), len(recipe.windows), recipe.height, recipe.width)
        planes = np.empty(shape, np.float32)
        across, down, _ = BLOCK
        grid = (-(-recipe.width // across), -(-recipe.height // down), shape[0] * shape[1])
        with self._gpu.current() as cuda:
            try:
                held = self._on_device(stack, lines, recipe)
                held.append(self._kept.place("planes", planes.nbytes))
                self._events[0].record()
                sizes = np.frombuffer(sizes_of(stack, recipe), np.int32)
                self._kernels[stack.dtype.name](*held, sizes, block=BLOCK, grid=grid)
                self._events[1].record()
                cuda.memcpy_dtoh(planes, held[-1])
                self.milliseconds = float(self._events[1].time_since(self._events[0]))
            except cuda.Error as error:
                self._recipe = None
                self._kept.free()
                raise EngineError(f"{self._gpu.name} could not prepare it: {error}") from error
        return planes

    def _on_device(self, stack: Stack, lines: NDArray[np.float32], recipe: Recipe) -> list[Any]:
        """Put on the device what the kernel reads; a recipe's tables once for all its slices."""
        if recipe != self._recipe:
            self._recipe = None  # until all of them are there
            self._tables = [
                self._kept.upload(f"table {number}", table)
                for number, table in enumerate(tables_of(recipe))
            ]
            self._recipe = recipe
        return [
            self._kept.upload("stack", np.ascontiguousarray(stack)),
            self._kept.upload("lines", np.ascontiguousarray(lines, np.float32)),
            *self._tables,
        ]
