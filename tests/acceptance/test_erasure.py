"""A study is erased from a running appliance, and from one that is killed while it erases."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from edge.keys import DeviceKeys
from edge.store.erasure import Erasures, Order
from edge.store.journal import Journal
from edge.store.study_key import StudyKey
from tools.scanner import head_ct_series, send
from tools.site import LocalSite
from tools.watch import Watch

DONE_S = 60.0
WHY = ("--reason", "request 2026-14")


def sent(site: LocalSite, watch: Watch, seed: int, *, lesion: bool = False) -> dict[str, bytes]:
    """Send a study, wait until it is told of, and return what must not outlive it."""
    series = head_ct_series(lesion=lesion, slices=12, seed=seed)
    study = watch.follow("study", series[0].StudyInstanceUID, len(series))
    assert send(series, site.appliance.peer).ok
    assert watch.wait_for_final(study, DONE_S), site.appliance.tail()
    return {
        "the name": str(series[0].PatientName).split("^", maxsplit=1)[0].encode(),
        "the patient's ID": str(series[0].PatientID).encode(),
        "the study's UID": str(series[0].StudyInstanceUID).encode(),
        "an image's UID": str(series[3].SOPInstanceUID).encode(),
        **keys_of(site, len(watch.studies)),
    }


def keys_of(site: LocalSite, study: int) -> dict[str, bytes]:
    """Return a study's key, wrapped as it is kept and as it is."""
    keys = DeviceKeys.load(site.appliance.keys)
    journal = site.appliance.folder / "studies" / "journal.db"
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
        (wrapped, pseudonym) = database.execute(
            "SELECT wrapped_key, pseudonym FROM studies WHERE id = ?", (study,)
        ).fetchone()
    raw = StudyKey.unwrap(wrapped, keys.storage).raw
    return {"the wrapped key": wrapped, "the key": raw, "the pseudonym": pseudonym.encode()}


def found(folder: Path, wanted: dict[str, bytes]) -> list[str]:
    """Return which of some bytes are in any file below a folder, or in its log."""
    files = [one.read_bytes() for one in folder.rglob("*") if one.is_file()]
    return [name for name, value in wanted.items() if any(value in one for one in files)]


def settled(site: LocalSite, study: int) -> bool:
    """Return whether central has had every alert of a study."""
    shown = json.loads(site.appliance.run_cli("studies", "show", str(study), "--json").stdout)
    return all(alert["settled"] for alert in shown["alerts"])


def wait_until_settled(site: LocalSite, study: int) -> None:
    pause = threading.Event()
    for _ in range(int(DONE_S / 0.2)):
        if settled(site, study):
            return
        pause.wait(0.2)
    pytest.fail("Central gave no receipt.")


def test_an_erased_study_is_in_no_file_its_neighbour_is_whole_and_sent_again_it_is_new(
    site: LocalSite, watch: Watch
) -> None:
    gone, stays = sent(site, watch, 1), sent(site, watch, 2)
    for study in (1, 2):
        wait_until_settled(site, study)
    coming = head_ct_series(lesion=False, slices=12, seed=3)
    assert send(coming[:4], site.appliance.peer).ok  # more were announced
    early = site.appliance.run_cli("studies", "erase", "3", *WHY)
    assert (early.returncode, early.stdout[:37]) == (1, "Study 3 was not erased: it is still c")
    assert send(coming[4:], site.appliance.peer).ok
    done = site.appliance.run_cli("studies", "erase", "1", *WHY)
    assert (done.returncode, done.stdout) == (0, "Study 1 is erased.\n"), done.stderr
    folder = site.appliance.folder / "studies"
    assert found(site.appliance.folder, gone) == []
    assert found(folder, stays)
    shown = json.loads(site.appliance.run_cli("studies", "list", "--json").stdout)
    assert [one["state"] for one in shown[1:]] == ["decided", "erased"]
    assert [one["told"] is None for one in shown[1:]] == [False, True]
    assert site.appliance.run_cli("audit", "verify").returncode == 0
    metrics = httpx.get(
        f"https://127.0.0.1:{site.appliance.console_port}/metrics",
        verify=False,  # noqa: S501 - it signed its certificate itself
        trust_env=False,
    ).text
    assert 'scanside_studies_erased_total{why="order"} 1.0' in metrics
    assert 'scanside_studies{state="erased"} 1.0' in metrics
    # Sent again, it is a new study.
    series = head_ct_series(lesion=False, slices=12, seed=1)
    again = watch.follow("again", series[0].StudyInstanceUID, len(series))
    assert send(series, site.appliance.peer).ok
    assert watch.wait_for_final(again, DONE_S), site.appliance.tail()
    shown = json.loads(site.appliance.run_cli("studies", "list", "--json").stdout)
    states = [(one["id"], one["state"]) for one in shown]
    assert states == [(4, "decided"), (3, "decided"), (2, "decided"), (1, "erased")]
    assert again.alert is not None
    assert again.alert.sequence == 4

    # A rule makes the appliance erase by itself what central has had.
    for study in (3, 4):
        wait_until_settled(site, study)
    keep(site, keep_days=0.000001)
    for study in (2, 3, 4):
        wait_until(site, "removed", study)
    assert found(site.appliance.folder, stays) == []
    shown = json.loads(site.appliance.run_cli("studies", "list", "--json").stdout)
    assert {one["state"] for one in shown} == {"erased"}
    assert shown[0]["erased"]["reason"] == "keep_days = 1e-06"


def test_an_appliance_that_is_killed_while_it_erases_goes_on_where_it_was(
    site: LocalSite, watch: Watch
) -> None:
    wanted = [sent(site, watch, seed) for seed in range(10, 13)]
    for study in range(1, 4):
        wait_until_settled(site, study)
    site.appliance.kill()
    folder = site.appliance.folder / "studies"
    order(folder, studies=3)
    site.appliance.start(wait_for="READY=1")
    wait_until(site, "answered", 1)
    site.appliance.kill()  # the first is decided on; its files, the log, the others: who knows
    site.appliance.start(wait_for="READY=1")
    for study, traces in enumerate(wanted, start=1):
        wait_until(site, "compacted", study)
        assert found(folder, traces) == []
    assert list((folder / "spool").iterdir()) == []
    assert site.appliance.run_cli("audit", "verify").returncode == 0


def keep(site: LocalSite, *, keep_days: float) -> None:
    """Set how long studies are kept, and start anew."""
    text = site.appliance.config.read_text(encoding="utf-8")
    changed = text.replace("# keep_days =", f"keep_days = {keep_days:f}")
    site.appliance.config.write_text(changed, encoding="utf-8")
    site.appliance.stop()
    site.appliance.start(wait_for="READY=1")


def order(folder: Path, *, studies: int) -> None:
    """Leave orders in the journal, as commands do when the power goes before the answer."""
    with closing(Journal(folder / "journal.db")) as journal:
        Erasures(journal).place(
            Order(study, "cli:root", "request 2026-14") for study in range(1, studies + 1)
        )


def wait_until(site: LocalSite, how_far: str, study: int) -> None:
    """Wait until an erasure has come so far, by the column of the journal that says it."""
    pause = threading.Event()
    with closing(
        Journal(site.appliance.folder / "studies" / "journal.db", read_only=True)
    ) as found:
        for _ in range(int(DONE_S / 0.01)):
            with found.reading() as read:
                rows = read.execute(
                    "SELECT * FROM erasures WHERE study_id = ? AND refused IS NULL", (study,)
                ).fetchall()
            if any(row[how_far] is not None for row in rows):
                return
            pause.wait(0.01)
    pytest.fail(f"Study {study} was not erased: {site.appliance.tail()}")
