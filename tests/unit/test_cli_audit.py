"""``scanside audit``: what an administrator and an auditor see."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from arrivals import NAME
from terminal import Terminal, fresh, with_two_studies

from edge.config import load_config
from edge.keys import CENTRAL_PUBLIC, init_central


@pytest.fixture
def used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """An appliance that has told of a study."""
    return with_two_studies(fresh(tmp_path, capsys))


def tamper(scanside: Terminal, *statements: str) -> None:
    file = load_config(scanside.config).storage.folder / "journal.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in ("DROP TRIGGER audit_stays", "DROP TRIGGER audit_is_kept", *statements):
            connection.execute(statement)


def test_an_alert_is_in_the_audit_by_numbers_alone(used: Terminal) -> None:
    assert used("audit show") == 0
    assert "alert.made" in used.out
    assert "alert:1 study:1" in used.out
    assert NAME not in used.out
    used("audit show", "--json")
    (line,) = map(json.loads, used.out.splitlines())
    assert (line["number"], line["who"], line["outcome"]) == (1, "daemon", "final critical")


def test_a_whole_audit_says_that_the_alerts_agree_with_it(used: Terminal) -> None:
    assert used("audit verify") == 0
    assert "whole. Entries: 1," in used.out
    assert "agree with it: 1." in used.out


def test_an_audit_that_was_emptied_is_betrayed_by_the_alerts(used: Terminal) -> None:
    tamper(used, "DELETE FROM audit", "DELETE FROM audit_head")
    assert used("audit verify") == 1
    assert "an alert knows an entry 1" in used.out


def test_a_changed_entry_is_named(used: Terminal) -> None:
    tamper(used, "UPDATE audit SET outcome = 'final routine'")
    assert used("audit verify") == 1
    assert "entry 1 is not as it was written" in used.out


def test_a_head_that_central_knows_is_asked_for(used: Terminal) -> None:
    assert used("audit verify", "--anchor", f"7:{'a' * 64}") == 1
    assert "an alert knows an entry 7" in used.out
    with pytest.raises(SystemExit):
        used("audit verify", "--anchor", "7:x")


def test_before_anything_was_done_the_audit_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scanside = fresh(tmp_path, capsys)
    scanside("keys init")
    assert "there is no journal yet" in scanside.refused("audit show")


def test_what_a_command_does_stands_in_the_audit(used: Terminal, tmp_path: Path) -> None:
    init_central(tmp_path / "central", "ward")
    used("keys add-recipient", str(tmp_path / "central" / CENTRAL_PUBLIC))
    used("keys rotate")
    used("keys remove-recipient", "ward")
    used("audit show", "--json")
    lines = [json.loads(line) for line in used.out.splitlines()]
    what = ["keys.recipient_removed", "keys.rotated", "keys.recipient_added"]
    assert [line["what"] for line in lines[:3]] == what
    assert all(line["who"].startswith("cli:") for line in lines[:3])
    # The alert was sealed and the first entries were signed under the former keys.
    assert used("audit verify") == 0
    assert "agree with it: 1." in used.out
