"""Where this machine has CUDA's headers, its driver's library to link with, and a compiler."""

from __future__ import annotations

import os
import re
import shutil
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_VERSION = re.compile(r"^#define CUDA_VERSION (\d+)$", re.MULTILINE)
# JetPack 6 and 7, JetPack 5, and a PC; the stubs are there where no driver is.
_DRIVER = ("aarch64-linux-gnu/nvidia", "aarch64-linux-gnu/tegra", "aarch64-linux-gnu")
_DRIVER_PC = ("x86_64-linux-gnu", "../lib64")
_STUBS = ("lib64/stubs", "lib/stubs")


class Missing(RuntimeError):
    """Something that must be installed first; the message says how."""


@dataclass(frozen=True, slots=True)
class Toolkit:
    """CUDA, to build for.

    Parameters
    ----------
    root : pathlib.Path
        Has ``include/cuda.h``.
    version : int
        As the header says: 12060 is 12.6.
    driver : pathlib.Path
        The folder with a ``libcuda.so`` to link with.
    """

    root: Path
    version: int
    driver: Path

    def __str__(self) -> str:
        return f"CUDA {self.version // 1000}.{self.version % 1000 // 10}"


def find_toolkit(roots: Sequence[Path] | None = None, *, driver: Path | None = None) -> Toolkit:
    """Find CUDA, and all that building against it needs.

    Parameters
    ----------
    roots : sequence of pathlib.Path, optional
        Where to look; without, ``CUDA_HOME`` and where CUDA is usually installed.
    driver : pathlib.Path, optional
        The folder with ``libcuda.so``; without, it is looked for.

    Raises
    ------
    Missing
        If there is no CUDA, compiler, header of Python or library to link with.
    """
    tried = _roots() if roots is None else roots
    root = next((root for root in tried if (root / "include" / "cuda.h").is_file()), None)
    if root is None:
        raise Missing(
            f"CUDA's headers are not here: no include/cuda.h in {', '.join(map(str, tried))}. "
            "On a Jetson: sudo apt-get install nvidia-jetpack. Elsewhere install CUDA's toolkit, "
            "or say where it is: CUDA_HOME=/path/to/cuda"
        )
    said = _VERSION.search((root / "include" / "cuda.h").read_text(encoding="utf-8"))
    if said is None:
        raise Missing(f"{root}/include/cuda.h does not say its version: install CUDA again.")
    if shutil.which("g++") is None:
        raise Missing("There is no compiler. Install it with: sudo apt-get install g++")
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        version = sysconfig.get_python_version()
        raise Missing(
            f"Python's headers are not in {headers}. Install them with: "
            f"sudo apt-get install python{version}-dev"
        )
    return Toolkit(root, int(said.group(1)), driver or _driver(root))


def _roots() -> tuple[Path, ...]:
    named = os.environ.get("CUDA_HOME")
    if named:
        return (Path(named),)
    compiler = shutil.which("nvcc")
    beside = () if compiler is None else (Path(compiler).resolve().parents[1],)
    return (*beside, Path("/usr/local/cuda"), Path("/usr"))


def _driver(root: Path) -> Path:
    places = tuple(_driver_places(root))
    for place in places:
        if (place / "libcuda.so").exists():
            return place
    raise Missing(
        f"No libcuda.so to link with in {', '.join(map(str, places))}. On a Jetson: sudo apt-get "
        "install nvidia-jetpack. Elsewhere install CUDA's toolkit with its stubs."
    )


def _driver_places(root: Path) -> Iterator[Path]:
    for folder in filter(None, os.environ.get("LIBRARY_PATH", "").split(os.pathsep)):
        yield Path(folder)
    for name in (*_DRIVER, *_DRIVER_PC):
        yield Path("/usr/lib") / name
    for name in _STUBS:
        yield root / name
