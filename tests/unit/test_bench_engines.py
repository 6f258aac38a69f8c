"""The benchmark of engines: what its figures are made of."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import load_package, shipped_packages
from engines.candidates import write_graphs
from engines.parity import read_checks
from engines.runtime import onnx_runtime
from tools.bench import engines as bench
from tools.bench.engine_call import call_cost
from tools.bench.engine_memory import held_mb
from tools.bench.engines import Timed

SHIPPED = "head-ct-hemorrhage"


def timed(ours: float, plain: float) -> Timed:
    return Timed([ours], [plain], None, [ours], [plain], [1.1 * plain])


def test_the_summary_is_of_the_shipped_model_and_of_all_ratios() -> None:
    rows = bench._summary(
        {
            (SHIPPED, "fp32"): timed(8.0, 8.0),
            (SHIPPED, "int8"): timed(4.0, 5.0),
            ("other", "fp32"): timed(100.0, 50.0),
        }
    )
    values = {row.metric: row.value for row in rows}
    assert values == {
        "int8_cpu_speedup": 2.0,
        "ort_runtime_ratio": 1.0,
        "plain_again_ratio": pytest.approx(1.1),
    }
    assert "from 0.800 to 2.000" in rows[1].note


def test_the_cost_of_a_call_is_ours_beside_plain_use() -> None:
    row = call_cost(rounds=2)
    assert (row.metric, row.unit, row.peer) == ("ort_call_us", "us", "InferenceSession")
    assert row.value is not None
    assert row.peer_value is not None
    assert min(row.value, row.peer_value) > 0
    assert "each of 6 calls" in row.note


def test_every_turn_counts_as_many_runs_of_ours_as_of_each_peer(tmp_path: Path) -> None:
    package = load_package(shipped_packages() / SHIPPED)
    graphs = write_graphs(package, "fp32")
    one = read_checks(package).inputs[:1]
    with closing(onnx_runtime.load(package.model)) as engine:
        found = bench._interleaved(engine, graphs, package.input.tensor, one, 3, "fp32")
    assert len(found.ours) == len(found.plain) == len(found.ours_cpu) == len(found.again_cpu) == 3
    assert found.polygraphy is not None
    assert len(found.polygraphy) == 3
    names = {row.metric for row in bench._latencies("m.fp32", found, "fp32")}
    assert names == {
        "latency_ms_p50.m.fp32",
        "latency_ms_p99.m.fp32",
        "latency_ms_p50_polygraphy.m.fp32",
    }


@pytest.mark.parametrize("how", ["ours", "plain"])
def test_memory_is_measured_in_a_process_of_its_own(how: str, tmp_path: Path) -> None:
    package = load_package(shipped_packages() / SHIPPED)
    tensors: dict[str, Any] = {package.input.tensor: read_checks(package).inputs[:1]}
    np.savez(tmp_path / "one.npz", **tensors)
    assert 1 < held_mb(how, package.model, tmp_path / "one.npz", 1) < 500
