"""The GPU check says what held, what did not, and what could not be tried, and never mixes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.gpu import Gpu
from tools.bench.report import Row
from tools.gpu_check import __main__ as command
from tools.gpu_check import kernel, suite
from tools.gpu_check.machine import Machine, look
from tools.gpu_check.part import Part, failed, not_run, passed

ORIN = Machine(
    Gpu("Orin (nvgpu)", "SM87"),
    "# R36 (release), REVISION: 4.3",
    {"pycuda": "2025.1", "nvcc": "12.6", "tensorrt": "10.3.0", "tensorrt_rtx": ""},
    {"tensorrt": None, "tensorrt_rtx": "tensorrt_rtx cannot be imported"},
)
PARTS = (
    passed("parity", "off by 0.0010", Row("ms_p50", 1.5, "ms", "ONNX Runtime, fp32", 9.0)),
    not_run("tensorrt_rtx", "tensorrt_rtx cannot be imported"),
)


def run(parts: tuple[Part, ...], monkeypatch: pytest.MonkeyPatch, folder: Path) -> tuple[int, Path]:
    monkeypatch.setattr(command, "look", lambda: ORIN)
    monkeypatch.setattr(command, "_parts", lambda *_, **__: iter(parts))
    target = folder / "gpu.json"
    status = command.main(["--json", str(target), "--table", str(folder / "gpu.txt")])
    return status, target


def test_what_could_not_run_is_no_failure_and_no_success(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status, target = run(PARTS, monkeypatch, tmp_path)
    assert status == 0
    held = json.loads(target.read_text(encoding="utf-8"))
    assert held["gpu"] == {"name": "Orin (nvgpu)", "capability": "SM87"}
    assert [part["state"] for part in held["parts"]] == ["passed", "could not run"]
    assert held["rows"][0]["ratio"] == pytest.approx(1.5 / 9, abs=1e-3)
    table = (tmp_path / "gpu.txt").read_text(encoding="utf-8")
    assert "1 passed, 0 failed, 1 could not run" in table
    assert "tensorrt 10.3.0" in table
    assert max(map(len, table.splitlines())) <= 100


def test_one_failure_is_the_status_of_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    status, target = run((*PARTS, failed("kernel", "off by 1")), monkeypatch, tmp_path)
    assert status == 1
    assert "failed" in target.read_text(encoding="utf-8")


def test_this_machine_says_what_it_has_and_what_it_lacks() -> None:
    here = look()
    assert set(here.lacks) == {"tensorrt", "tensorrt_rtx"}
    if here.gpu is None:
        assert here.name == "no GPU"
        assert all("no NVIDIA GPU" in (lack or "") for lack in here.lacks.values())
        assert suite.endings(here).state == "could not run"
        assert kernel.on_gpu(here, quick=True).state == "could not run"


def test_a_suite_without_a_test_for_a_runtime_did_not_run() -> None:
    assert suite.conformance("tensorrt", "no driver") == not_run(
        "conformance suite, tensorrt", "no driver"
    )
    assert suite.conformance("no-such-runtime", None).state == "could not run"
