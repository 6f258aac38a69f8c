"""The lock files: in step, complete with hashes, and silent about where files come from."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tools import locks

REQUIREMENT = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ;\\]+)(?P<rest>.*)$")


def entries(lock: str) -> list[str]:
    """Return each locked requirement with its continuation lines."""
    text = (locks.ROOT / "requirements" / f"{lock}.lock").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return "\n".join(lines).replace("\\\n", " ").splitlines()


def pins(lock: str) -> set[tuple[str, str, str]]:
    found = set()
    for entry in entries(lock):
        match = REQUIREMENT.match(entry)
        assert match is not None, entry
        marker = match["rest"].split("--hash")[0].strip()
        found.add((match["name"], match["version"], marker))
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of what the check reads."""
    shutil.copy(locks.ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(locks.ROOT / "requirements", tmp_path / "requirements")
    return tmp_path


def test_the_locks_are_made_from_the_present_dependencies() -> None:
    assert locks.out_of_step(locks.ROOT) == []


def test_a_dependency_added_to_the_project_puts_both_locks_out_of_step(tree: Path) -> None:
    project = tree / "pyproject.toml"
    text = project.read_text()
    assert "dependencies = [\n" in text
    project.write_text(text.replace("dependencies = [\n", 'dependencies = [\n    "more>=1",\n', 1))
    complaints = locks.out_of_step(tree)
    assert [complaint.split()[0] for complaint in complaints] == [
        "requirements/run.lock",
        "requirements/dev.lock",
    ]
    assert all("Run ./tools/lock.sh." in complaint for complaint in complaints)


def test_a_dependency_for_tests_leaves_the_appliance_lock_in_step(tree: Path) -> None:
    project = tree / "pyproject.toml"
    project.write_text(project.read_text().replace("\ndev = [\n", '\ndev = [\n    "more>=1",\n', 1))
    assert [line.split()[0] for line in locks.out_of_step(tree)] == ["requirements/dev.lock"]


def test_a_changed_limit_puts_every_lock_out_of_step(tree: Path) -> None:
    limits = tree / "requirements" / "limits.in"
    limits.write_text(limits.read_text() + "numpy<2\n")
    assert len(locks.out_of_step(tree)) == len(locks.LOCKS)


def test_a_missing_lock_is_named(tree: Path) -> None:
    (tree / "requirements" / "run.lock").unlink()
    assert locks.out_of_step(tree) == ["requirements/run.lock is missing. Run ./tools/lock.sh."]


@pytest.mark.parametrize("lock", list(locks.LOCKS))
def test_every_locked_version_has_a_hash(lock: str) -> None:
    assert entries(lock)
    assert [entry for entry in entries(lock) if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", list(locks.LOCKS))
def test_a_lock_names_no_address_and_no_place_on_a_machine(lock: str) -> None:
    text = (locks.ROOT / "requirements" / f"{lock}.lock").read_text()
    assert re.findall(r"\w+://|--(?:index|extra-index|find)\S*|[ (]/\S+", text) == []


def test_the_tests_run_on_the_versions_that_the_appliance_runs() -> None:
    # Without the markers: the tests may want on every Python what the appliance wants on one.
    run, dev = ({pin[:2] for pin in pins(lock)} for lock in ("run", "dev"))
    assert run <= dev


def test_pycuda_is_built_beside_the_versions_that_the_appliance_runs() -> None:
    run, jetson = ({pin[0]: pin[1] for pin in pins(lock)} for lock in ("run", "jetson"))
    assert {name for name in run.keys() & jetson.keys() if run[name] != jetson[name]} == set()
    assert {"pycuda", "setuptools", "wheel"} <= jetson.keys()


def test_the_project_can_be_built_from_the_lock_alone() -> None:
    names = {name for name, _, _ in pins("run")}
    assert {"hatchling", "editables"} <= names


def test_an_unknown_request_is_answered_with_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert locks.main(["digest", "train"]) == 2
    assert "usage" in capsys.readouterr().out
