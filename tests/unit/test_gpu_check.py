"""The GPU check says what held, what did not, and what could not be tried, and never mixes them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from graphs import CHANGE

from edge.analysis.preparing import Trial
from engines.build.plan import MODULES, Module
from engines.gpu import Gpu
from tools.bench.report import Row
from tools.gpu_check import __main__ as command
from tools.gpu_check import engines_here, kernel, suite, third_party
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


def test_a_precision_that_a_model_is_not_offered_in_is_no_failure_on_a_gpu(
    tmp_path: Path,
) -> None:
    lacks: dict[Module, str | None] = dict.fromkeys(MODULES, "it is not installed")
    machine = replace(ORIN, installed=dict.fromkeys(MODULES, ""), lacks=lacks)
    parts = list(engines_here.of_package(CHANGE, machine, tmp_path, quick=True))
    assert {part.state for part in parts} == {"could not run"}
    assert parts[-1].name == "brain-flair-change, int8, graph"
    assert parts[-1].said.startswith("not offered: int8 would gain nothing")


def test_this_machine_says_what_it_has_and_what_it_lacks() -> None:
    here = look()
    assert set(here.lacks) == {"tensorrt", "tensorrt_rtx"}
    if here.gpu is None:
        assert here.name == "no GPU"
        assert all("no NVIDIA GPU" in (lack or "") for lack in here.lacks.values())
        assert suite.endings(here).state == "could not run"
        assert kernel.on_gpu(here, quick=True).state == "could not run"
        assert kernel.as_the_worker(here).state == "could not run"


@pytest.mark.parametrize(
    ("off", "state"), [(1e-6, "passed"), (1e-3, "failed"), (float("nan"), "failed")]
)
def test_slices_that_the_gpu_prepares_otherwise_than_opencv_fail(off: float, state: str) -> None:
    trials = {"head": Trial(1e-7, 0.5, 0.4), "chest": Trial(off, 0.5, 0.9)}
    part = kernel.judged("slices", trials)
    assert part.state == state
    assert "(chest); 4e-06 is allowed" in part.said
    assert [row.peer_value for row in part.rows] == [0.4, 0.9]
    if state == "passed":
        assert "the GPU is quicker for 1 of 2" in part.said


def test_a_suite_without_a_test_for_a_runtime_did_not_run() -> None:
    assert suite.conformance("tensorrt", "no driver") == not_run(
        "conformance suite, tensorrt", "no driver"
    )
    assert suite.conformance("no-such-runtime", None).state == "could not run"


def test_the_folder_of_models_reaches_the_parts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Path | None] = []

    def parts(_machine: Machine, _folder: Path, models: Path | None, *, quick: bool) -> list[Part]:
        asked.append(models)
        return [passed("quick", str(quick))]

    monkeypatch.setattr(command, "look", lambda: ORIN)
    monkeypatch.setattr(command, "_parts", parts)
    assert command.main(["--models", str(tmp_path)]) == 0
    assert command.main([]) == 0
    assert asked == [tmp_path, None]


def test_models_that_are_not_here_are_told_of(tmp_path: Path) -> None:
    (part,) = third_party.every(ORIN, tmp_path, None, quick=True)
    assert part.state == "could not run"
    assert "--models FOLDER says where they are" in part.said
    structures, tissue = third_party.every(ORIN, tmp_path, tmp_path / "models", quick=True)
    assert {structures.state, tissue.state} == {"could not run"}
    assert tissue.said == f"{tmp_path / 'models' / 'meshnet-brain-tissue.onnx'} is not here."
    # A model without the T1 that its check set is cut from.
    (tmp_path / "models").mkdir()
    for name in ("meshnet-brain-tissue.onnx", "meshnet-brain-tissue-labels.csv"):
        (tmp_path / "models" / name).touch()
    _, tissue = third_party.every(ORIN, tmp_path, tmp_path / "models", quick=True)
    assert tissue.said.endswith("data/brain-mri/t1.nii.gz is not here.")


def test_a_model_that_cannot_be_read_fails_and_the_others_go_on(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for name in ("meshnet-brain-structures.onnx", "meshnet-brain-structures-labels.csv"):
        (models / name).write_text("0,Background\n1,Brain\n", encoding="utf-8")
    (tmp_path / "data" / "brain-mri").mkdir(parents=True)
    (tmp_path / "data" / "brain-mri" / "t1.nii.gz").touch()
    structures, tissue = third_party.every(ORIN, tmp_path / "made", models, quick=True)
    assert (structures.name, structures.state) == ("meshnet-brain-structures", "failed")
    assert "not an ONNX model" in structures.said or "holds no network" in structures.said
    assert tissue.state == "could not run"
