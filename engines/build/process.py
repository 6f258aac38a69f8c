"""Start the building process, watch it, and make sense of how it ended.

The builder is native code that may take minutes and gigabytes, and may be killed for either. So it
lives in a process of its own: it can be cancelled, it is held to a memory limit, and when the
kernel kills it the daemon keeps serving.

The limit is on resident memory and not on the address space, because CUDA reserves address space
far beyond what it uses.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from engines.build.memory import fitted, memory_here, starved
from engines.build.plan import BuildPlan

_WORKER = (sys.executable, "-m", "engines.build.worker")
_LOOK_S = 0.05  # how often memory and cancelling are looked at
_GO_S = 5.0
_STDERR_TAIL = 600


class BuildError(RuntimeError):
    """No engine was built; the message says why and what to do."""


class BuildCancelled(BuildError):
    """The build was stopped because it was no longer wanted."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a build is.

    Parameters
    ----------
    phase : str
        As the builder names it.
    parent : str or None
        The phase it is part of; told when it begins.
    step, steps : int or None
        Steps done, and how many there are, told when it begins; both None when it has ended.
    """

    phase: str
    parent: str | None
    step: int | None
    steps: int | None


@dataclass(frozen=True, slots=True)
class BuildResult:
    """A built engine.

    Parameters
    ----------
    engine : pathlib.Path
        The plan's target.
    size : int
        Bytes.
    digest : str
        SHA-256, 64 hexadecimal digits.
    builder : str
        Module and version.
    seconds : float
        From the start of the process to its end, both attempts where there were two.
    peak_memory : int
        Largest resident memory seen, in bytes.
    workspace : int
        What the engine was built with; smaller than the plan's after a second attempt.
    warnings : tuple of str
        The builder's, and ours.
    """

    engine: Path
    size: int
    digest: str
    builder: str
    seconds: float
    peak_memory: int
    workspace: int
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Attempt:
    """What one process told and how it went."""

    warnings: list[str] = field(default_factory=list)
    builder: str | None = None
    failure: str | None = None
    for_memory: bool = False
    said: str = ""
    peak: int = 0


def build(
    plan: BuildPlan,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    worker: Sequence[str] = _WORKER,
) -> BuildResult:
    """Build an engine.

    Parameters
    ----------
    plan : BuildPlan
        What to build; it is held within this machine's memory, see `engines.build.memory`.
    on_progress : callable, optional
        Told of every phase and step.
    cancelled : callable
        Asked many times a second; the build stops when it says True.
    worker : sequence of str
        The command that builds; it is given a file descriptor for its events.

    Returns
    -------
    BuildResult

    Raises
    ------
    BuildCancelled
        If `cancelled` said so.
    BuildError
        If the module is missing, the model cannot be parsed (the message names the node) or built,
        or the process died: twice, where it was killed for memory.
    """
    began = time.monotonic()
    plan, notes = fitted(plan, memory_here())
    attempt = _run(plan, on_progress, cancelled, worker)
    warnings, peak = [*notes, *attempt.warnings], attempt.peak
    if attempt.for_memory:
        first, plan = plan, plan.smaller()
        warnings.append(_retrying(first, plan, attempt))
        attempt = _run(plan, on_progress, cancelled, worker)
        warnings, peak = warnings + attempt.warnings, max(peak, attempt.peak)
        if attempt.for_memory:
            raise BuildError(_out_of_memory(first, plan, peak, attempt.said))
    if attempt.failure is not None or attempt.builder is None:
        raise BuildError(attempt.failure or f"{plan.model}: the build ended without an answer.")
    content = plan.target.read_bytes()
    return BuildResult(
        engine=plan.target,
        size=len(content),
        digest=hashlib.sha256(content).hexdigest(),
        builder=attempt.builder,
        seconds=time.monotonic() - began,
        peak_memory=peak,
        workspace=plan.workspace,
        warnings=tuple(warnings),
    )


def _run(
    plan: BuildPlan,
    on_progress: Callable[[Progress], None] | None,
    cancelled: Callable[[], bool],
    worker: Sequence[str],
) -> _Attempt:
    attempt = _Attempt()
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as events, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*worker, str(writing)],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            pass_fds=(writing,),
        )
        os.close(writing)
        try:
            _give(process, plan)
            _follow(process, events, plan, attempt, on_progress, cancelled)
        finally:
            _end(process)
        status = process.returncode
        # The kernel's killer sends the same signal as we do, and nobody else sends it.
        attempt.for_memory = attempt.for_memory or status == -signal.SIGKILL
        if not attempt.for_memory and attempt.builder is None and attempt.failure is None:
            last = _tail(said)
            # Native code that gets no memory may abort, and only standard error says of what.
            attempt.for_memory = status == -signal.SIGABRT and starved(last)
            attempt.said = last
            attempt.failure = _died(plan, status, last)
    return attempt


def _give(process: subprocess.Popen[bytes], plan: BuildPlan) -> None:
    assert process.stdin is not None  # noqa: S101  # a pipe was asked for
    with contextlib.suppress(BrokenPipeError):  # where it is gone already, its status says why
        process.stdin.write(plan.to_json().encode() + b"\n")
        process.stdin.flush()


def _follow(
    process: subprocess.Popen[bytes],
    events: IO[bytes],
    plan: BuildPlan,
    attempt: _Attempt,
    on_progress: Callable[[Progress], None] | None,
    cancelled: Callable[[], bool],
) -> None:
    """Read events until the process closes them, kill it for memory, or leave when cancelled."""
    left = b""
    with selectors.DefaultSelector() as selector:
        selector.register(events, selectors.EVENT_READ)
        while True:
            if cancelled():
                process.kill()
                raise BuildCancelled(f"{plan.model}: the build was cancelled.")
            held = _resident(process.pid)
            attempt.peak = max(attempt.peak, held)
            if held > plan.memory_limit:
                attempt.for_memory = True
                process.kill()
                return
            if not selector.select(_LOOK_S):
                continue
            block = os.read(events.fileno(), 1 << 16)
            if not block:
                return
            *lines, left = (left + block).split(b"\n")
            for line in lines:
                _take(json.loads(line), attempt, on_progress)


def _take(
    event: dict[str, object], attempt: _Attempt, on_progress: Callable[[Progress], None] | None
) -> None:
    kind = event.pop("event")
    if kind == "phase" and on_progress is not None:
        name, parent, step, steps = (event.get(key) for key in ("name", "parent", "step", "steps"))
        on_progress(
            Progress(
                str(name),
                None if parent is None else str(parent),
                step if isinstance(step, int) else None,
                steps if isinstance(steps, int) else None,
            )
        )
    elif kind == "warning":
        attempt.warnings.append(str(event["message"]))
    elif kind == "failed":
        attempt.failure = str(event["message"])
    elif kind == "memory":
        attempt.for_memory = True
        attempt.said = str(event["message"])
    elif kind == "done":
        attempt.builder = str(event["builder"])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a finished process go, and stop one that is not; there is nothing of it to save."""
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # it leaves by itself on this
    try:
        process.wait(_GO_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _resident(pid: int) -> int:
    """Return the bytes a process holds in memory and swap; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in lines.splitlines() if ":" in line)
    return sum(int(fields.get(key, "0 kB").split()[0]) for key in ("VmRSS", "VmSwap")) * 1024


def _retrying(first: BuildPlan, second: BuildPlan, attempt: _Attempt) -> str:
    return (
        f"The build was stopped for memory at {attempt.peak >> 20} MiB with a workspace of "
        f"{first.workspace >> 20} MiB; tried again with {second.workspace >> 20} MiB."
    )


def _out_of_memory(first: BuildPlan, second: BuildPlan, peak: int, said: str) -> str:
    words = f" The builder said: {said}" if said else ""
    return (
        f"{first.model}: the build was stopped for memory twice, with a workspace of "
        f"{first.workspace >> 20} MiB and of {second.workspace >> 20} MiB. It held {peak >> 20} "
        f"MiB; {first.memory_limit >> 20} MiB are allowed.{words} The engine in use stays. Close "
        "other programs, add swap, or build in fp16: scanside models build NAME --precision fp16."
    )


def _tail(said: IO[bytes]) -> str:
    said.seek(0)
    return said.read()[-_STDERR_TAIL:].decode("utf-8", "replace").strip()


def _died(plan: BuildPlan, status: int, last: str) -> str:
    if status < 0:
        how = f"was ended by {signal.Signals(-status).name}"
    else:
        how = f"ended with status {status}"
    return f"{plan.model}: the building process {how} without an answer. It last said: {last}"
