"""`scanside-central devices`, `alerts` and the rest, at a terminal and in a pipe."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import pytest
from central_parts import make_lone_device, record_of
from terminal import unread

from tools.central import cli
from tools.central.database import open_database
from tools.central.site_folder import NewSite, make_site
from tools.central.store import AlertStore

COMMAND = [sys.executable, "-c", "import sys, tools.central.cli as c; sys.exit(c.main())"]
LISTS = ["devices", "alerts", "events", "feedback", "audit"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site that has received nothing yet."""
    make_site(tmp_path / "site", NewSite("north", "ward", "broker.example", 8883))
    return tmp_path / "site"


@pytest.fixture
def used(site: Path, tmp_path: Path) -> Path:
    """A site that has received three alerts."""
    device = make_lone_device(tmp_path / "device")
    with closing(open_database(str(site / "alerts.db"))) as database:
        AlertStore(database).keep([record_of(device, number) for number in (1, 2, 3)])
    return site


def test_no_word_is_cut_on_a_narrow_terminal(
    used: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["alerts", str(used)]) == 0
    said = capsys.readouterr().out
    assert "\u2026" not in said
    (row,) = (line for line in said.splitlines() if "north/ct-1 #3" in line)
    assert "urgent" in row
    assert "Intracranial hemorrhage" in row


@pytest.mark.parametrize("command", LISTS)
def test_before_anything_came_each_list_says_what_to_start(
    site: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, str(site)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"scanside-central: {site}")
    assert said.endswith("nothing was received yet. Start: scanside-central run\n")


def test_a_reader_that_has_seen_enough_is_no_fault(used: Path) -> None:
    assert unread([*COMMAND, "alerts", str(used), "--json"]) == (0, b"")
