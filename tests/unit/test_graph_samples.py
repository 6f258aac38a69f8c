"""What a graph is shown before it is converted: every run has as many samples as the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graphs import SHIPPED, shipped_model

from engines.graph.int8 import Calibrator, to_int8
from engines.graph.samples import read_samples


@pytest.mark.parametrize(
    ("count", "batch", "runs"),
    [(8, 4, [4, 4]), (6, 4, [3, 3]), (7, 4, [1] * 7), (2, 4, [2]), (3, 1, [1, 1, 1])],
)
def test_runs_are_equal_and_leave_no_sample_out(
    count: int, batch: int, runs: list[int], tmp_path: Path
) -> None:
    file = tmp_path / "some.npz"
    np.savez(file, x=np.arange(count, dtype=np.float32)[:, None])
    samples = read_samples(file, ["x"], batch=batch)
    assert [len(one["x"]) for one in samples] == runs
    assert np.concatenate([one["x"] for one in samples]).ravel().tolist() == [*range(count)]


def test_a_check_set_of_any_number_calibrates_int8(tmp_path: Path) -> None:
    size = (6, SHIPPED.input.channels, *SHIPPED.input.sizes)
    file = tmp_path / "six.npz"
    np.savez(file, pixels=np.random.default_rng(1).random(size, np.float32))
    samples = read_samples(file, ["pixels"], batch=4)
    quantized = to_int8(shipped_model(), samples, Calibrator.PERCENTILE)
    assert "QuantizeLinear" in {node.op_type for node in quantized.graph.node}
