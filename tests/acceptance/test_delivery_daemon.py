"""The running appliance and a central server: drills, new keys and revocation without a restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from edge.keys import CENTRAL_PUBLIC
from tools.site import LocalSite
from tools.watch import Watch


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSite]:
    watch = Watch()
    with LocalSite(tmp_path_factory.mktemp("site"), on_alert=watch.on_alert) as running:
        yield running


def drill(site: LocalSite) -> dict[str, Any]:
    """Send a drill through the running daemon, and return how it went."""
    done = site.appliance.run_cli("drill", "--json", "--timeout", "40")
    assert done.returncode == 0, done.stderr + site.appliance.tail()
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def servers(report: dict[str, Any]) -> list[str]:
    return [receipt["central"] for receipt in report["receipts"]]


def test_a_drill_is_answered_by_the_server_and_each_part_of_its_way_is_timed(
    site: LocalSite,
) -> None:
    report = drill(site)
    assert servers(report) == ["demo-central"]
    assert report["owed_by"] == []
    assert report["created"] <= report["published"] <= report["settled"]
    shown = site.appliance.run_cli("drill")
    assert shown.returncode == 0
    assert "receipt of demo-central" in shown.stdout


def test_new_keys_are_in_use_without_a_restart_on_either_side(site: LocalSite) -> None:
    before = site.appliance.run_cli("keys", "show").stdout
    assert site.appliance.run_cli("keys", "rotate").returncode == 0
    after = site.appliance.run_cli("keys", "show").stdout
    assert before.splitlines()[0] != after.splitlines()[0]
    assert "Former signing key" in after
    assert servers(drill(site)) == ["demo-central"]


def test_a_removed_server_gets_nothing_and_is_waited_for_no_more(site: LocalSite) -> None:
    assert site.appliance.run_cli("keys", "remove-recipient", "demo-central").returncode == 0
    assert servers(drill(site)) == []
    public = str(site.central.keys / CENTRAL_PUBLIC)
    assert site.appliance.run_cli("keys", "add-recipient", public).returncode == 0
    assert servers(drill(site)) == ["demo-central"]


def test_all_of_it_stands_in_an_audit_that_is_whole(site: LocalSite) -> None:
    shown = site.appliance.run_cli("audit", "show", "--json", "--limit", "1000").stdout
    acts = {json.loads(line)["what"] for line in shown.splitlines()}
    assert {
        "daemon.started",
        "drill.made",
        "keys.rotated",
        "keys.recipient_removed",
        "keys.recipient_added",
        "keys.read",
    } <= acts
    checked = site.appliance.run_cli("audit", "verify")
    assert checked.returncode == 0, checked.stdout


def test_the_service_manager_shows_engines_and_broker_in_one_line(site: LocalSite) -> None:
    assert site.appliance.stop() == 0
    site.appliance.start(wait_for="STATUS=Engines ready; broker connected")
