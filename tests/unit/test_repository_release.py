"""What is released: the wheel, its commands, and the documents that go with it."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools import locks

ROOT = locks.ROOT
PROJECT = locks.read_project(ROOT)["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names in the wheel, built offline."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        return set(archive.namelist())


def files_below(folder: str, pattern: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob(pattern)}


def test_the_wheel_holds_every_model_package_that_ships(wheel: set[str]) -> None:
    packages = files_below("engines/packages", "*/model.toml")
    assert packages
    for package in packages:
        folder = Path(package).parent.as_posix()
        assert files_below(folder, "*") <= wheel
        assert f"{folder}/model.onnx" in wheel


def test_the_wheel_holds_the_alert_schema(wheel: set[str]) -> None:
    assert "edge/alerts/alert.schema.json" in wheel


@pytest.mark.parametrize("package", ["edge", "engines", "tools"])
def test_the_wheel_says_that_it_is_typed(wheel: set[str], package: str) -> None:
    assert f"{package}/py.typed" in wheel


def test_the_wheel_holds_the_licence_and_no_tests(wheel: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}
    info = f"scanside-{PROJECT['version']}.dist-info"
    assert tops == {"edge", "engines", "tools", info}
    assert f"{info}/licenses/LICENSE" in wheel


def test_the_wheel_holds_no_study_and_no_key(wheel: set[str]) -> None:
    assert [name for name in wheel if re.search(r"\.(dcm|jwk|pem|key|sqlite3?|db)$", name)] == []


@pytest.mark.parametrize(("command", "target"), sorted(PROJECT["scripts"].items()))
def test_every_command_leads_to_a_function(command: str, target: str) -> None:
    module, name = target.split(":")
    assert callable(getattr(importlib.import_module(module), name)), command


def test_the_changelog_tells_of_the_present_version() -> None:
    versions = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert versions[0] == PROJECT["version"]


def test_the_readme_shows_the_two_commands_that_work_on_a_fresh_machine() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "./tools/demo.sh" in readme
    assert "./tools/test.sh" in readme


@pytest.mark.parametrize(
    "script",
    [*sorted(path.relative_to(ROOT) for path in ROOT.glob("tools/*.sh")), ".ci/run"],
    ids=str,
)
def test_every_script_can_be_started(script: str | Path) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/usr/bin/env bash\n")


def test_continuous_integration_runs_the_checks_and_the_tests() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    assert "./tools/check.sh" in text
    assert "./tools/test.sh" in text
