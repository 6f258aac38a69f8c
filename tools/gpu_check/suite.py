"""The test suite's own parts, in a process of their own: conformance, and how a process ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as Xml

from engines.build.plan import Module
from tools.gpu_check.machine import Machine, lacks_gpu
from tools.gpu_check.part import Part, failed, not_run, passed

_ROOT = Path(__file__).parents[2]
_SUITE = "tests/integration/test_runtime_conformance.py"
_LIMIT_S = 900
_ENDING = """
import os, signal, sys
from engines.cuda.context import open_context
gpu = open_context()
with gpu.current() as cuda:
    stream, memory = cuda.Stream(), cuda.mem_alloc(1 << 20)
def leave():
    global stream
    with gpu.current():
        memory.free()
        del stream
gpu.admit(leave)
{way}
"""
_WAYS: dict[str, tuple[str, int]] = {
    "the end of the script": ("", 0),
    "sys.exit during a run": ("with gpu.current(): sys.exit(3)", 3),
    "an exception during a run": ("with gpu.current(): 1 / 0", 1),
    "close": ("gpu.close()", 0),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
}


def conformance(runtime: Module | str, lacks: str | None) -> Part:
    """Run the suite that every runtime passes."""
    name = f"conformance suite, {runtime}"
    if lacks is not None:
        return not_run(name, lacks)
    if not (_ROOT / _SUITE).is_file():
        return not_run(name, f"{_SUITE} is not here; run it from a checkout.")
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # By the bracket's begin, or tensorrt would take tensorrt_rtx and its stand-in along.
        command = [sys.executable, "-m", "pytest", "-q", _SUITE, f"--junitxml={report}"]
        command += ["-p", "no:cacheprovider", "-k", _chosen(runtime)]
        done = subprocess.run(
            command, cwd=_ROOT, capture_output=True, text=True, check=False, timeout=_LIMIT_S
        )
        if not report.is_file():
            return not_run(name, f"pytest did not start: {(done.stdout + done.stderr)[-300:]}")
        counts = next(Xml.parse(report).iter("testsuite")).attrib  # noqa: S314  # our own file
    ran, wrong = int(counts["tests"]), int(counts["failures"]) + int(counts["errors"])
    skipped = int(counts["skipped"])
    said = f"{ran - wrong - skipped} tests passed, {wrong} failed, {skipped} skipped"
    if wrong:
        return failed(name, f"{said}. {done.stdout[-400:]}")
    return passed(name, said) if ran > skipped else not_run(name, said)


def _chosen(runtime: str) -> str:
    chosen = f"([{runtime}] or [{runtime}-)"
    return chosen if runtime.endswith("stand-in") else f"{chosen} and not stand-in"


def endings(machine: Machine) -> Part:
    """Leave a process in every way while it holds the GPU, and look at its last words."""
    name = "the context is given back on every way out"
    lacks = lacks_gpu(machine)
    if lacks is not None:
        return not_run(name, lacks)
    for what, (way, code) in _WAYS.items():
        done = subprocess.run(
            [sys.executable, "-c", _ENDING.format(way=way)],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
        )
        if done.returncode != code or "PyCUDA" in done.stderr:
            return failed(name, f"{what}: status {done.returncode}; {done.stderr[-300:]}")
    return passed(name, ", ".join(_WAYS))
