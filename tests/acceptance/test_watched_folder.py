"""A watched folder and DICOMweb in front of a whole appliance; it is killed while files come."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from dicomweb_client.api import DICOMwebClient

from tools.broker import HOST, free_port
from tools.scanner import head_ct_series
from tools.site import LocalSite
from tools.watch import Watch

DONE_S = 90.0
SLICES = 16
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def site(tmp_path: Path, watch: Watch, inbox: Path) -> Iterator[LocalSite]:
    token = tmp_path / "token"
    token.write_text(TOKEN, encoding="ascii")
    settings: dict[str, dict[str, object]] = {
        "web": {
            "enabled": True,
            "tls": False,
            "host": HOST,
            "port": free_port(),
            "token_file": str(token),
        },
        "folder": {"path": str(inbox), "quiet_s": 1},
        "analysis": {"last_resort_s": 20},
    }
    with LocalSite(tmp_path / "site", on_alert=watch.on_alert, settings=settings) as running:
        yield running


def test_files_are_analysed_once_though_the_appliance_is_killed_while_they_come(
    site: LocalSite, watch: Watch, inbox: Path
) -> None:
    series = head_ct_series(lesion=True, slices=SLICES, seed=5)
    study = watch.follow("study", series[0].StudyInstanceUID, SLICES)
    for number, image in enumerate(series[:10]):
        image.save_as(inbox / f"{number}.dcm", enforce_file_format=True)
    wait_until(lambda: len(list(inbox.glob("*.dcm"))) < 8)
    site.appliance.kill()
    for number, image in enumerate(series[10:], start=10):
        image.save_as(inbox / f"{number}.dcm", enforce_file_format=True)
    (inbox / "notes.txt").write_text("no image", encoding="utf-8")
    site.appliance.start(wait_for="READY=1")
    assert watch.wait_for_final(study, DONE_S), site.appliance.tail()
    wait_until(lambda: not list(inbox.glob("*.dcm")))
    wait_until(lambda: len(list((inbox / "refused").glob("*.reason.txt"))) == 1)
    shown = json.loads(site.appliance.run_cli("studies", "show", "1", "--json").stdout)
    assert [one["instances"] for one in shown["series"]] == [SLICES]
    assert [one["conflicts"] for one in shown["series"]] == [0]
    send_over_http(site, watch)
    assert study.alert is not None
    assert study.alert.study.series[0].instances == SLICES
    checked = site.appliance.run_cli("check").stdout
    assert "1 files were refused" in checked
    assert site.appliance.stop() == 0


def send_over_http(site: LocalSite, watch: Watch) -> None:
    """Send a study over STOW-RS and wait for what is said of it."""
    series = head_ct_series(lesion=False, slices=SLICES, seed=6)
    study = watch.follow("over HTTP", series[0].StudyInstanceUID, len(series))
    url = next(
        line.split()[-1].removesuffix("/studies")
        for line in site.appliance.log.read_text(encoding="utf-8").splitlines()
        if "STOW-RS at" in line
    )
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {TOKEN}"
        DICOMwebClient(url, session=session, timeout=DONE_S).store_instances(list(series))
    assert watch.wait_for_final(study, DONE_S), site.appliance.tail()
    assert study.alert is not None
    (one,) = study.alert.study.series
    assert one.instances == SLICES
    assert one.analysed, study.alert.reasons


def wait_until(happened: Callable[[], bool]) -> None:
    """Wait until something is so."""
    pause = threading.Event()
    for _ in range(int(DONE_S / 0.05)):
        if happened():
            return
        pause.wait(0.05)
    pytest.fail("It did not come to that.")
