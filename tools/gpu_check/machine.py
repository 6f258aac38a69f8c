"""Which machine this is: its GPU, and what is installed to use it."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engines import EngineError
from engines.build.modules import PlanRefused, load
from engines.build.plan import MODULES, Module
from engines.cuda.context import open_context
from engines.gpu import Gpu, gpu_here
from engines.stack import L4T


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is.

    Parameters
    ----------
    gpu : Gpu or None
        The first GPU, as the driver says.
    jetson : str
        Release of Linux for Tegra; empty elsewhere.
    installed : dict of str to str
        Version of each module and tool that matters; empty where it is missing.
    lacks : dict of str to (str or None)
        For each module, what is missing to run its engines; None where nothing is.
    """

    gpu: Gpu | None
    jetson: str
    installed: dict[str, str]
    lacks: dict[Module, str | None]

    @property
    def name(self) -> str:
        """In a word."""
        return "no GPU" if self.gpu is None else f"{self.gpu.name} ({self.gpu.capability})"


def look() -> Machine:
    """Return what this machine has."""
    return Machine(
        gpu=gpu_here(),
        jetson=_first_line(L4T),
        installed={
            "pycuda": _version("pycuda"),
            "nvcc": _nvcc(),
            **{module: _module(module) for module in MODULES},
        },
        lacks={module: lacks(module) for module in MODULES},
    )


def lacks(module: Module) -> str | None:
    """Return what is missing to run a module's engines here, or None."""
    missing = _lacks_context()
    if missing is None:
        try:
            load(module)
        except PlanRefused as error:
            missing = str(error)
    return missing


def lacks_gpu(machine: Machine) -> str | None:
    """Return what is missing to use the GPU without TensorRT, or None."""
    return None if None in machine.lacks.values() else _lacks_context()


def _lacks_context() -> str | None:
    if gpu_here() is None:
        return "there is no NVIDIA GPU here, or no driver for it (nvidia-smi would list it)"
    try:
        open_context().close()
    except EngineError as error:
        return str(error)
    return None


def _first_line(file: Path) -> str:
    return file.read_text(encoding="utf-8").split("\n")[0] if file.is_file() else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _module(name: Module) -> str:
    try:
        return str(importlib.import_module(name).__version__)
    except (ImportError, OSError):
        return ""


def _nvcc() -> str:
    if shutil.which("nvcc") is None:
        return ""
    done = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"release ([\d.]+)", done.stdout)
    return found[1] if found else ""
