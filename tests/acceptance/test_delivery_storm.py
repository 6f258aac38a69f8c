"""The proof of delivery at a tenth of its size: ``scanside-bench delivery`` is the whole.

Mosquitto with mutual TLS, the appliance's outbox and publisher as a process, `scanside-central` as
a process; the broker is stopped, both are killed, and the network between them fails, at random.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge.jose.envelope import Refusal
from tools.bench.delivery import TENTH, storm_rows
from tools.bench.delivery_storm import DEVICE, Harvest, Storm
from tools.broker import find_mosquitto

pytestmark = pytest.mark.skipif(find_mosquitto() is None, reason="needs mosquitto")


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Storm, Harvest]:
    one = Storm(tmp_path_factory.mktemp("storm"), TENTH)
    return one, one.run()


@pytest.fixture(scope="module")
def harvest(storm: tuple[Storm, Harvest]) -> Harvest:
    return storm[1]


def central(storm: tuple[Storm, Harvest], *arguments: str) -> subprocess.CompletedProcess[str]:
    name, *rest = arguments
    return subprocess.run(
        [sys.executable, "-m", "tools.central.cli", name, str(storm[0].site.path), *rest],
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_alert_is_lost_none_is_doubled_and_no_gap_is_left(harvest: Harvest) -> None:
    assert harvest.made == TENTH.alerts
    assert (harvest.lost, harvest.duplicated, harvest.gaps) == (0, 0, 0)


def test_every_alert_has_its_receipt_in_the_end(harvest: Harvest) -> None:
    assert harvest.unsettled == 0


def test_nothing_that_was_forged_is_kept_and_each_kind_is_counted(harvest: Harvest) -> None:
    assert harvest.forged_accepted == 0
    assert harvest.refused >= {
        reason.value
        for reason in (
            Refusal.UNKNOWN_DEVICE,
            Refusal.MISMATCH,
            Refusal.REVOKED,
            Refusal.NOT_FOR_ME,
            Refusal.MALFORMED,
            Refusal.TOO_LARGE,
        )
    }


def test_the_table_has_the_names_that_comparisons_rely_on(harvest: Harvest) -> None:
    names = {row.metric for row in storm_rows(TENTH, harvest)}
    assert {"lost", "duplicated", "unexplained_gaps", "forged_accepted"} <= names


def test_a_person_sees_the_device_and_the_audit_is_whole(storm: tuple[Storm, Harvest]) -> None:
    listed = json.loads(central(storm, "devices", "--json").stdout)
    (device,) = (row for row in listed if row["device"] == DEVICE)
    assert (device["alerts"], device["missing"]) == (TENTH.alerts, 0)
    verified = central(storm, "audit", "--verify")
    assert verified.returncode == 0, verified.stdout
    assert "as written" in verified.stdout


def test_no_private_key_and_no_patient_is_in_what_was_written_in_clear(
    storm: tuple[Storm, Harvest],
) -> None:
    folder: Path = storm[0].site.path.parent
    for log in (*folder.glob("*.log"), folder / "site" / "broker" / "mosquitto.log"):
        text = log.read_text("utf-8", "replace")
        assert "PRIVATE" not in text
        assert "1.2.3." not in text.replace("127.0.0.1", "")
