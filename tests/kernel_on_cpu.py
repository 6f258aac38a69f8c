"""The fused kernel's own source, compiled as C++: every operation rounds by itself, as on a GPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.cuda.fused import PIXELS, SOURCE


class Place(ctypes.Structure):
    """As CUDA's dim3."""

    _fields_ = (("x", ctypes.c_uint), ("y", ctypes.c_uint), ("z", ctypes.c_uint))


def built(folder: Path) -> ctypes.CDLL:
    """Compile it; skips where there is no compiler."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed: the kernel's source cannot be run on the CPU")
    target = folder / "kernel.so"
    here = Path(__file__).parent / "cuda_on_cpu"
    command = [compiler, "-O2", "-ffp-contract=off", "-Wall", "-Werror", "-shared", "-fPIC"]
    command += [f"-I{here}", f"-I{SOURCE.parent}", "-o", str(target), str(here / "run.cpp")]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(target))


class Compiled:
    """As a pycuda Module, over the memory of `cuda_stand_in.Cuda`."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self.launched = 0

    def get_function(self, name: str) -> Callable[..., None]:
        """Return what launches a kernel."""
        pixel = PIXELS.index(name.removeprefix("prepare_"))

        def launch(*given: Any, block: tuple[int, ...], grid: tuple[int, ...]) -> None:
            *held, sizes = given
            self.launched += 1
            at = (ctypes.c_void_p * len(held))(*map(int, held))
            self._library.run(pixel, Place(*grid), Place(*block), at, sizes.tobytes())

        return launch
