"""docs/models.md shows how a model that nobody here made comes into service: it is typed here."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from graphs import MESHNETS, meshnet_file

from engines import load_package
from engines.draft import draft, read_answers, read_labels, to_toml, unfilled
from engines.graph.adopting import adopt
from engines.interview import interview

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
T1 = SHARED / "data" / "brain-mri" / "t1.nii.gz"


def documented() -> list[str]:
    """Return the lines of the shell block, those that make a whole volume run left out."""
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    block = re.search(r"```sh\n(.*?)```", page, re.DOTALL)
    assert block is not None
    return [line for line in block[1].splitlines() if line and "models try" not in line]


@pytest.mark.skipif(not T1.is_file(), reason=f"{T1} is not here")
def test_the_documented_commands_bring_a_model_from_its_file_to_the_served_engine(
    tmp_path: Path,
) -> None:
    meshnet_file(MESHNETS[0])
    # As if the project's folder were there, beside shared and with its docs.
    project = tmp_path / "project"
    project.mkdir()
    (project / "docs").symlink_to(ROOT / "docs")
    (tmp_path / "shared").symlink_to(SHARED)
    lines = documented()
    assert sum("scanside models" in line for line in lines) == 6
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
        cwd=project,
        env={**os.environ, "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "A person must fill in" not in done.stdout
    assert "4 samples, and what FP32 answers" in done.stdout
    assert re.search(r"onnxruntime +fp32 .*may serve", done.stdout)
    assert re.search(r"onnxruntime +int8 .*stays out", done.stdout)
    assert re.search(r"int8: away from fp32 most: '\w+' \(\w+\) adds [\d.]+%", done.stdout)
    assert "fp32 serves meshnet-brain-tissue: off by" in done.stdout
    assert "Grey matter (SCT 389081007), volume in ml" in done.stdout


@pytest.mark.parametrize("name", MESHNETS)
def test_the_answers_that_are_written_down_leave_nothing_open(name: str, tmp_path: Path) -> None:
    model = meshnet_file(name)
    answers = ROOT / "docs" / "models" / f"{model.stem}.toml"
    labels = read_labels(model.with_name(f"{model.stem}-labels.csv"))
    tables = draft(interview(adopt(model)), model.stem, labels, read_answers(answers))
    assert unfilled(tables) == ()
    (tmp_path / "model.toml").write_text(to_toml(tables, name), encoding="utf-8")
    (tmp_path / "model.onnx").write_bytes(model.read_bytes())
    package = load_package(tmp_path)
    assert package.input.sizes == (256, 256, 256)
    assert [one.classes for one in package.volumes] == [(index,) for index, _ in labels[1:]]
    assert "not for diagnosis" in package.limits
