"""How much of this machine's memory a build may take, so that the daemon keeps serving.

On a Jetson the GPU has no memory of its own: what a layer may use for scratch is taken from what
everything else lives in. There the workspace is bounded by what is free, as the process is
everywhere.

A builder that gets no memory is not always killed for it: `starved` knows its words.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from engines.build.plan import LEAST_WORKSPACE, BuildPlan

_MEMINFO = Path("/proc/meminfo")
_MODEL = Path("/proc/device-tree/model")  # on a Jetson, as in "NVIDIA Jetson Orin Nano"
# The first is said by TensorRT for RTX under a limit; the others stand in TensorRT's own logs on
# GPUs and Jetsons (NVIDIA/TensorRT issues 840, 2643, 4258).
_STARVED = ("bad_alloc", "(out of memory)", "OutOfMemory (no further information)")


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


def starved(said: str) -> bool:
    """Return whether a builder's words mean that this machine, or its GPU, had no more memory.

    A workspace that is too small for a layer is something else: there the builder says how much it
    asked for, as in ``OutOfMemory (Requested size was 17125948 bytes.)``, and less would not help.
    """
    return any(words in said for words in _STARVED)


def _note(what: str, now: int, planned: int, memory: Memory) -> str:
    return (
        f"{what} {now >> 20} MiB instead of {planned >> 20} MiB: {memory.available >> 20} MiB of "
        "memory are available."
    )
