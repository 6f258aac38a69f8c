"""Real files that no model is for, whole and broken, compressed in every way, reach us."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pydicom
import pytest

from tools.dcmtk import find_dcmtk, needed
from tools.scanner import head_ct_series, send
from tools.site import Appliance, LocalSite
from tools.watch import Followed, Watch

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "dicom"
CONFORMANCE = sorted((SHARED / "wg04").glob("*.dcm"))
ODD = sorted((SHARED / "odd").glob("*.dcm"))
ALERT_S = 60.0

pytestmark = [
    pytest.mark.skipif(not CONFORMANCE, reason=f"no DICOM files in {SHARED}"),
    pytest.mark.skipif(find_dcmtk("dcmsend") is None, reason="DCMTK is not installed"),
    pytest.mark.filterwarnings("ignore:Invalid value for VR UI"),  # this test reads them too
]


def answered(appliance: Appliance, *files: Path) -> bool:
    """Send files as they are; return whether every one was answered with Success."""
    peer = appliance.peer
    how = [needed("dcmsend"), "--verbose", "--no-halt", "--decompress-never", "-aec", peer.ae_title]
    done = subprocess.run(
        [*how, peer.host, str(peer.port), *map(str, files)],
        capture_output=True,
        text=True,
        timeout=ALERT_S,
        check=False,
    )
    return f"with status SUCCESS  : {len(files)}\n" in done.stdout + done.stderr


def followed(watch: Watch, files: list[Path]) -> dict[Path, Followed]:
    """Follow the study of each file; files of one study share it."""
    by_uid: dict[str, Followed] = {}
    found: dict[Path, Followed] = {}
    for file in files:
        header = pydicom.dcmread(file, force=True, stop_before_pixels=True)
        uid = str(header.get("StudyInstanceUID", ""))
        if uid not in by_uid:
            by_uid[uid] = watch.follow(file.name, uid, 1)
        found[file] = by_uid[uid]
    return found


def test_foreign_and_broken_files_are_told_of_and_none_is_flagged(
    site: LocalSite, watch: Watch
) -> None:
    appliance = site.appliance
    studies = followed(watch, [*CONFORMANCE, *ODD])
    assert answered(appliance, *CONFORMANCE)
    taken = [file for file in ODD if answered(appliance, file)]
    assert len(taken) > len(ODD) // 2

    for study in [studies[file] for file in (*CONFORMANCE, *taken)]:
        assert watch.wait_for_final(study, ALERT_S), f"{study.name}: {appliance.tail()}"
        assert study.alert is not None
        assert not any(finding.flagged for finding in study.alert.findings)
        assert study.alert.model or study.alert.reasons  # looked at, or told of with the reason

    series = head_ct_series(True, 20, seed=3)
    after = watch.follow("a head CT", series[0].StudyInstanceUID, 20)
    assert send(series, appliance.peer).ok
    assert watch.wait_for_final(after, ALERT_S), appliance.tail()
    log = appliance.log.read_text(encoding="utf-8")
    assert "Traceback" not in log
    assert "Warning: " not in log  # a library's warning quotes what a sender sent
