"""How much memory a process and its children hold."""

from __future__ import annotations

from pathlib import Path


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and all its descendants, in MB (10^6 bytes).

    Proportional set size: a page shared by two of them counts once. Source: proc(5).

    Raises
    ------
    OSError
        If the process is gone.
    """
    return sum(_proportional(one) for one in (pid, *_descendants(pid))) / 1e6


def _descendants(pid: int) -> list[int]:
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text("ascii").split()
    ]
    return [one for child in children for one in (child, *_descendants(child))]


def _proportional(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    (line,) = (line for line in lines if line.startswith("Pss:"))
    return float(line.split()[1]) * 1024
