"""`scanside alerts` and `scanside drill`: what went out, and a test of the way."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from terminal import Terminal, fresh, tell_of_a_bleed, with_two_studies

from edge.config import load_config
from edge.keys import KeyRing
from edge.store.studies import Store


@pytest.fixture
def used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """An appliance on which two studies came in."""
    return with_two_studies(fresh(tmp_path, capsys))


def test_an_alert_is_opened_with_the_devices_own_key(used: Terminal) -> None:
    assert used("alerts show 1") == 0
    assert "Alert 1 of scanside-1 at hospital, final" in used.out
    assert "critical flagged" in used.out
    assert "Hemorrhage: 90% (flagged from 50%), flagged, by head-ct" in used.out
    used("alerts show 1", "--json")
    assert json.loads(used.out)["outcome"] == "flagged"


def test_an_alert_that_was_replaced_names_the_one_that_holds(used: Terminal) -> None:
    used("alerts show 1")
    assert "took its place" not in used.out
    config = load_config(used.config)
    ring = KeyRing(config.storage.keys)
    with closing(
        Store(config.storage.folder, device_key=ring.current.own.storage, reserve_bytes=0)
    ) as store:
        tell_of_a_bleed(store, ring)
    used("alerts show 1")
    assert "No longer holds: alert 2 took its place." in used.out
    used("alerts show 2")
    assert "took its place" not in used.out


def test_a_drill_says_how_long_it_waits_before_it_waits(used: Terminal) -> None:
    assert used("drill", "--timeout", "1") == 1  # nothing sends it: no daemon runs here
    waiting, trouble = used.err.splitlines()
    assert waiting == "Drill 2 is on its way; its receipts are waited for 1 s."
    assert trouble.startswith("scanside: No broker took the drill within 1 s.")
