"""``python -m tools.bench.engine_memory ours|plain MODEL INPUTS THREADS``: what an engine holds.

In a process of its own: it prints how far the largest resident memory after ten runs lies above
what was resident before the engine was loaded, in MB (10^6 bytes).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from engines.runtime import onnx_runtime
from engines.runtime.protocol import Array

_RUNS = 10
_PATIENCE_S = 300.0


def held_mb(how: str, model: Path, inputs: Path, threads: int) -> float:
    """Measure in a fresh process.

    Parameters
    ----------
    how : str
        ``ours``, or ``plain`` for ONNX Runtime with its defaults.
    model : pathlib.Path
        The graph.
    inputs : pathlib.Path
        An npz with the input tensor.
    threads : int
        For both.
    """
    command = [sys.executable, "-m", __name__, how, str(model), str(inputs), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
    return float(done.stdout)


def plain_session(content: bytes, threads: int) -> onnxruntime.InferenceSession:
    """Return a session as most people make one, but for the number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024 / 1e6


def _run(how: str, model: Path, feeds: dict[str, Array], threads: int) -> None:
    if how == "ours":
        engine = onnx_runtime.load(model, threads=threads)
        for _ in range(_RUNS):
            engine.infer(feeds)
        return
    session = plain_session(model.read_bytes(), threads)
    for _ in range(_RUNS):
        session.run(None, feeds)


def main() -> int:
    """Print the figure."""
    how, model, inputs, threads = sys.argv[1:]
    with np.load(inputs) as held:
        feeds = dict(held)
    before = _status("VmRSS")
    _run(how, Path(model), feeds, int(threads))
    sys.stdout.write(f"{_status('VmHWM') - before:.1f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
