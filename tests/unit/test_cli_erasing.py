"""``scanside studies erase``, where no appliance runs: what an administrator sees of it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from arrivals import NAME, STUDY, arrival
from terminal import Terminal, fresh, with_two_studies

from edge.config import load_config
from edge.console.accounts import Role, User
from edge.console.acknowledgements import Acknowledgements
from edge.console.database import ConsoleDatabase
from edge.keys import DeviceKeys, pseudonym
from edge.retention.reason import names_patient
from edge.store.erasure import Erasures
from edge.store.journal import StudyState
from edge.store.studies import Store

WHY = ("--reason", "request 2026-14")


@pytest.fixture
def used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """An appliance with a study that was flagged, and one that is quarantined."""
    return with_two_studies(fresh(tmp_path, capsys))


def store_of(used: Terminal) -> Store:
    config = load_config(used.config)
    keys = DeviceKeys.load(config.storage.keys)
    return Store(config.storage.folder, device_key=keys.storage, reserve_bytes=0)


def acknowledge(used: Terminal) -> None:
    with closing(ConsoleDatabase(load_config(used.config).storage.folder)) as database:
        amina = User(1, "Amina", Role.TECHNICIAN, None, 1.0, 0.0, external=False)
        Acknowledgements(database).keep(1, 1, amina, 1.0)


def test_a_study_is_erased_and_shown_as_such(used: Terminal) -> None:
    assert used("studies erase", "2", *WHY) == 0
    assert used.out == "Study 2 is erased.\n"
    used("studies list")
    row = next(line.split() for line in used.out.splitlines() if line.startswith("2"))
    assert row[-3:] == ["erased", "ERASED", "0"]
    assert used("studies show", "2") == 0
    assert used.out.startswith("Study 2, ERASED ")
    assert "Reason: request 2026-14" in used.out
    used("studies show", "2", "--json")
    assert json.loads(used.out)["study"]["erased"]["reason"] == "request 2026-14"
    used("audit show", "--limit", "1", "--json")
    entry = json.loads(used.out)
    assert (entry["what"], entry["outcome"]) == ("study.erased", "done: request 2026-14")
    assert used("audit verify") == 0


def test_a_flag_that_nobody_acknowledged_and_an_alert_nobody_has_stand_in_the_way(
    used: Terminal,
) -> None:
    assert used("studies erase", "1", *WHY) == 1
    assert used.out.startswith("Study 1 was not erased: nobody acknowledged its flag")
    acknowledge(used)
    assert used("studies erase", "1", *WHY) == 1
    assert used.out.startswith("Study 1 was not erased: central has not had all")
    assert used("studies erase", "1", "--undelivered", *WHY) == 0
    assert used("alerts list") == 0
    assert "withdrawn, study erased" in used.out
    assert used.refused("alerts show 1") == "Alert 1 was erased with its study."
    used("audit show", "--json")
    assert '"what": "alert.withdrawn", "on": "alert:1 study:1"' in used.out
    assert used("audit verify") == 0


@pytest.mark.parametrize("what", ["identity", "wrapped_key"])
def test_a_study_that_is_damaged_on_the_disk_goes_when_somebody_says_so(
    used: Terminal, what: str
) -> None:
    with closing(store_of(used)) as store, store.journal.transaction() as write:
        write.execute(f"UPDATE studies SET {what} = randomblob(80) WHERE id = 2")  # noqa: S608
        write.execute("UPDATE series SET about = randomblob(80) WHERE study_id = 2")
    assert used("studies erase", "2", *WHY) == 1
    assert used.out.startswith("Study 2 was not erased: nobody acknowledged its flag")
    assert used("studies erase", "2", "--unacknowledged", *WHY) == 0


def test_all_studies_of_a_patient_go_by_their_id(
    used: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = DeviceKeys.load(load_config(used.config).storage.keys)
    with closing(store_of(used)) as store:
        for study, patient in ((3, "P-77"), (4, "P-78"), (5, "P-77")):
            whose = pseudonym(keys.pseudonym, "Nowhere", patient)
            store.keep(arrival(study=f"{STUDY}.{study}", pseudonym=whose), b"image")
            store.study_state(study, StudyState.DECIDED, 1)
    said = used.refused("studies erase", "--patient", "P-77", *WHY)
    assert "without an issuer" in said
    assert "--issuer" in said
    monkeypatch.setattr("builtins.input", lambda _: "P-77")
    assert used("studies erase", "--patient", "-", "--issuer", "Nowhere", *WHY) == 0
    assert used.out == "Study 3 is erased.\nStudy 5 is erased.\n"
    used.refused("studies erase", "--patient", "P-77", "--issuer", "Nowhere", *WHY)


def test_no_patient_id_means_nobody_and_not_everybody_without_one(
    used: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = DeviceKeys.load(load_config(used.config).storage.keys)
    with closing(store_of(used)) as store:
        for study in (3, 4):
            nobody = pseudonym(keys.pseudonym, "", "")
            store.keep(arrival(study=f"{STUDY}.{study}", pseudonym=nobody), b"image")
            store.study_state(study, StudyState.DECIDED, 1)
    assert "Give a Patient ID" in used.refused("studies erase", "--patient", " ", *WHY)
    monkeypatch.setattr("builtins.input", lambda _: "")
    assert "Give a Patient ID" in used.refused("studies erase", "--patient", "-", *WHY)


@pytest.mark.parametrize(
    "reason",
    [
        "for SECRET-1",
        "asked by nobody",
        "born 19640501",
        "born 1964-05-01",
        "born 01.05.1964",
        "born 1.5.1964",
        "accession acc-secret",
    ],
)
def test_a_reason_that_names_the_patient_is_refused(used: Terminal, reason: str) -> None:
    said = used.refused("studies erase", "2", "--reason", reason)
    assert "The reason names the patient" in said
    assert NAME not in said
    used("studies show", "2")
    assert "quarantined" in used.out


@pytest.mark.parametrize("reason", ["asked by Li", "for p7", "of a9"])
def test_a_reason_holds_no_short_name_or_number_either(reason: str) -> None:
    assert names_patient(reason, {"name": "Li^X", "patient_id": "P7", "accession": "A9"})


def test_a_journal_that_takes_no_order_is_told_as_such(
    used: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Erasures, "place", full)
    assert "disk is full; nothing was erased" in used.refused("studies erase", "2", *WHY)


@pytest.mark.parametrize("reason", ["", " ", "x" * 121, "two\nlines"])
def test_a_reason_is_a_line(
    used: Terminal, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        used("studies erase", "2", "--reason", reason)
    assert "1 to 120 printable characters" in capsys.readouterr().err


def test_what_is_not_there_or_erased_is_told_as_such(used: Terminal) -> None:
    assert used.refused("studies erase", "7", *WHY) == (
        "There is no study 7. See: scanside studies list"
    )
    used("studies erase", "2", *WHY)
    assert used.refused("studies erase", "2", *WHY) == "Study 2 is erased already."


def test_before_the_first_start_there_is_nothing_to_erase(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scanside = fresh(tmp_path, capsys)
    scanside("keys init")
    assert "no journal yet" in scanside.refused("studies erase", "1", *WHY)
