"""What this machine has to run engines on a GPU, and what it lacks.

Each part is asked for by using it: a package that is there and does not import is of no use.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engines.build.modules import PlanRefused, load
from engines.build.plan import MODULES, Module
from engines.gpu import Gpu, gpu_here

L4T = Path("/etc/nv_tegra_release")
"""On a Jetson: which Linux for Tegra."""


@dataclass(frozen=True, slots=True)
class Stack:
    """What there is.

    Parameters
    ----------
    jetson : bool
        Whether this is a Jetson.
    gpu : Gpu or None
        The first GPU, if the driver gives it to this user.
    runtimes : tuple of str
        Each that imports, with its version: ``tensorrt 10.3.0``.
    pycuda : str
        Its version; empty where it does not import.
    problems : tuple of str
        Why each of the others does not import.
    """

    jetson: bool
    gpu: Gpu | None
    runtimes: tuple[str, ...]
    pycuda: str
    problems: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether models can run on the GPU."""
        return self.gpu is not None and bool(self.runtimes) and bool(self.pycuda)


def stack_here(l4t: Path = L4T) -> Stack:
    """Look at this machine."""
    looked = [_runtime(module) for module in MODULES]
    version, problem = _pycuda()
    return Stack(
        l4t.exists(),
        gpu_here(),
        tuple(found for found, _ in looked if found),
        version,
        tuple(filter(None, (*(lack for _, lack in looked), problem))),
    )


def _runtime(module: Module) -> tuple[str, str]:
    """Return its name and version, or why there is none."""
    try:
        return f"{module} {load(module).version}", ""
    except PlanRefused as refused:
        return "", str(refused)


def _pycuda() -> tuple[str, str]:
    try:
        import pycuda.driver  # noqa: PLC0415  # optional; needs the driver even to import

        return str(pycuda.VERSION_TEXT), ""
    except ImportError as error:
        return "", f"pycuda cannot be imported ({error})"
