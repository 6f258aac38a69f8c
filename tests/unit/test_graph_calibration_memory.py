"""Calibration holds as much as fits, and of a volume's tensors one run's at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from graphs import small_graph
from onnx import helper

from engines.graph.int8 import Calibrator, to_int8
from engines.graph.model import parse_model

SIDE, SAMPLES = 1024, 18
LIMIT = 1 << 30


def calibrate() -> int:
    """Quantize a graph whose tensors over all samples are more than the limit; return the peak."""
    rng = np.random.default_rng(0)
    layers = range(4)
    nodes = [
        helper.make_node("Conv", [f"x{n}" if n else "x", f"w{n}"], [f"x{n + 1}"], f"conv{n}")
        for n in layers
    ]
    nodes[-1].output[0] = "logits"
    weights = {
        f"w{n}": rng.normal(size=(4, 4 if n else 1, 1, 1)).astype(np.float32) for n in layers
    }
    model = parse_model(
        small_graph(
            nodes, weights, shape=("n", 1, SIDE, SIDE), out=("n", 4, SIDE, SIDE)
        ).SerializeToString(),
        "wide.onnx",
    )
    samples = [{"x": rng.random((1, 1, SIDE, SIDE)).astype(np.float32)} for _ in range(SAMPLES)]
    to_int8(model, samples, Calibrator.PERCENTILE)
    # Not ru_maxrss: that begins with what the process was forked from.
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) << 10


def test_calibration_holds_less_than_all_tensors_of_all_samples() -> None:
    tensors = 4 * 4 * 4 * SIDE * SIDE * SAMPLES
    assert tensors > LIMIT
    said = subprocess.run(
        [sys.executable, "-c", "import test_graph_calibration_memory as me; print(me.calibrate())"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join([str(Path(__file__).parent), *sys.path])},
    )
    assert int(said.stdout) < LIMIT
