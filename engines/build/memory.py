"""How much of this machine's memory a build may take, so that the daemon keeps serving.

On a Jetson the GPU has no memory of its own: what a layer may use for scratch is taken from what
everything else lives in. There the workspace is bounded by what is free, as the process is
everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from engines.build.plan import LEAST_WORKSPACE, BuildPlan

_MEMINFO = Path("/proc/meminfo")
_MODEL = Path("/proc/device-tree/model")  # on a Jetson, as in "NVIDIA Jetson Orin Nano"


@dataclass(frozen=True, slots=True)
class Memory:
    """This machine's.

    Parameters
    ----------
    available : int
        Bytes that can be had without swapping, as the kernel reckons.
    shared : bool
        Whether the GPU lives in it too.
    """

    available: int
    shared: bool


def memory_here(meminfo: Path = _MEMINFO, model: Path = _MODEL) -> Memory:
    """Ask the kernel."""
    lines = meminfo.read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    name = model.read_bytes().decode("utf-8", "replace") if model.is_file() else ""
    return Memory(int(fields["MemAvailable"].split()[0]) * 1024, "NVIDIA" in name)


def fitted(plan: BuildPlan, memory: Memory) -> tuple[BuildPlan, tuple[str, ...]]:
    """Return the plan within this machine's memory, and what was made smaller.

    The process gets at most three quarters of what is available. Where the GPU lives in it too, the
    workspace gets at most a quarter.
    """
    notes = []
    limit = min(plan.memory_limit, memory.available * 3 // 4)
    if limit < plan.memory_limit:
        notes.append(_note("The build may hold", limit, plan.memory_limit, memory))
    workspace = plan.workspace
    if memory.shared:
        workspace = min(workspace, max(memory.available // 4, LEAST_WORKSPACE))
    if workspace < plan.workspace:
        notes.append(_note("The workspace is", workspace, plan.workspace, memory))
    return replace(plan, memory_limit=limit, workspace=workspace), tuple(notes)


def _note(what: str, now: int, planned: int, memory: Memory) -> str:
    return (
        f"{what} {now >> 20} MiB instead of {planned >> 20} MiB: {memory.available >> 20} MiB of "
        "memory are available."
    )
