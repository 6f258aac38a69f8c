"""The only study of an appliance is damaged on the disk: it starts, and says so."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing

import pytest

from edge.keys import init_device
from tools.scanner import head_ct_series, send
from tools.site import DEVICE, SITE, LocalSite, SiteError
from tools.watch import Watch

DONE_S = 60.0


def damage(site: LocalSite, what: str, state: str) -> None:
    with closing(sqlite3.connect(site.appliance.folder / "studies" / "journal.db")) as database:
        database.execute(f"UPDATE studies SET {what} = randomblob(80), state = ?", (state,))  # noqa: S608
        database.commit()


def sent(site: LocalSite, watch: Watch, seed: int) -> None:
    series = head_ct_series(lesion=False, slices=12, seed=seed)
    study = watch.follow("study", series[0].StudyInstanceUID, len(series))
    assert send(series, site.appliance.peer).ok
    assert watch.wait_for_final(study, DONE_S), site.appliance.tail()


def says(site: LocalSite, words: str) -> bool:
    pause = threading.Event()
    for _ in range(200):
        if words in site.appliance.log.read_text():
            return True
        pause.wait(0.05)
    return False


@pytest.mark.parametrize("what", ["wrapped_key", "identity"])
@pytest.mark.parametrize("state", ["decided", "receiving"])
def test_with_its_only_study_damaged_an_appliance_starts_says_so_and_analyses_the_next(
    site: LocalSite, watch: Watch, what: str, state: str
) -> None:
    sent(site, watch, 1)
    site.appliance.kill()
    damage(site, what, state)
    site.appliance.start()
    assert says(site, "Study 1 is damaged on the disk"), site.appliance.tail()
    sent(site, watch, 2)
    listed = site.appliance.run_cli("studies", "list")
    assert listed.returncode == 0, listed.stderr
    assert ("DAMAGED" in listed.stdout) == (what == "wrapped_key"), listed.stdout
    assert "NOT ANALYSED" in listed.stdout
    shown = site.appliance.run_cli("studies", "show", "1")
    if what == "wrapped_key":
        assert (shown.returncode, shown.stdout) == (1, "")
        assert "Study 1 is damaged on the disk" in shown.stderr
    erased = site.appliance.run_cli(
        "studies", "erase", "1", "--reason", "damaged", "--undelivered", "--unacknowledged"
    )
    assert erased.returncode == 0, erased.stderr
    assert site.appliance.stop() == 0


def test_with_the_keys_of_another_device_it_does_not_start_and_says_what_to_check(
    site: LocalSite, watch: Watch
) -> None:
    sent(site, watch, 1)
    site.appliance.stop()
    appliance = site.appliance
    shutil.move(appliance.keys, appliance.folder / "kept")
    init_device(appliance.keys, device=DEVICE, site=SITE)
    with pytest.raises(SiteError):
        appliance.start()
    assert says(site, "do not open with this device's storage key"), appliance.tail()
