"""DCMTK, which is what many scanners and hospitals use, sends to the door and to the appliance."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from intake_parts import HOST, Intake, data_set_of, open_intake

from edge.alerts.message import Alert
from tools.central.subscriber import Received
from tools.dcmtk import find_dcmtk, needed
from tools.scanner import Manner, Peer, head_ct_series, send
from tools.scanner.series import write_series
from tools.site import LocalSite

# pynetdicom leaves the socket of an aborted connection to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
    ),
    pytest.mark.skipif(find_dcmtk("dcmsend") is None, reason="DCMTK is not installed"),
]

SLICES = 24


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A head CT on the disk of a scanner."""
    return write_series(
        head_ct_series(True, slices=SLICES, seed=1), tmp_path_factory.mktemp("scanner")
    )


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    with open_intake(tmp_path / "studies") as opened:
        yield opened


def dcmtk(program: str, peer: Peer, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [needed(program), "-aec", peer.ae_title, peer.host, str(peer.port), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_echoscu_gets_its_answer(intake: Intake) -> None:
    assert dcmtk("echoscu", intake.peer).returncode == 0


@pytest.mark.parametrize("program", ["dcmsend", "storescu"])
def test_every_file_of_a_folder_is_kept_as_it_is(
    intake: Intake, files: list[Path], program: str
) -> None:
    sent = dcmtk(program, intake.peer, "+sd", files[0].parent)
    assert sent.returncode == 0, sent.stderr
    intake.wait_until_all_are_gone(1)
    assert intake.events.gone[0].orderly
    assert sorted(map(data_set_of, intake.instances)) == sorted(
        data_set_of(file.read_bytes()) for file in files
    )


def test_compressed_files_are_kept_compressed(
    intake: Intake, files: list[Path], tmp_path: Path
) -> None:
    packed = tmp_path / "packed.dcm"
    subprocess.run(["dcmcjpeg", "+e1", files[0], packed], check=True, timeout=60)  # JPEG lossless
    assert dcmtk("dcmsend", intake.peer, "--decompress-never", packed).returncode == 0
    (kept,) = intake.instances
    assert data_set_of(kept) == data_set_of(packed.read_bytes())


def test_storescu_says_why_a_file_was_not_taken(tmp_path: Path, files: list[Path]) -> None:
    with open_intake(tmp_path, reserve_bytes=1 << 60) as intake:
        sent = dcmtk("storescu", intake.peer, "-v", files[0])
    # Not the exit code: storescu leaves with the status modulo 256, and 0xA700 makes 0 of that.
    assert re.search(r"out ?of ?resources|0xa700", sent.stdout + sent.stderr, re.IGNORECASE)


# The whole appliance


class Heard:
    """What central was told."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards alerts
        self.alerts: list[Alert] = []

    def __call__(self, received: Received) -> None:
        assert received.alert is not None
        with self._changed:
            self.alerts.append(received.alert)
            self._changed.notify_all()

    def wait_for_final(self, studies: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.finals) >= studies, 60)

    @property
    def finals(self) -> list[Alert]:
        return [one for one in self.alerts if one.status != "provisional"]


def test_a_study_sent_with_dcmsend_is_an_alert_at_central_and_nobody_is_named(
    tmp_path: Path, files: list[Path]
) -> None:
    heard = Heard()
    settings = {"log": {"level": "debug"}}
    with LocalSite(tmp_path, on_alert=heard, settings=settings) as site:
        peer = Peer("SCANSIDE", HOST, site.appliance.port)
        assert dcmtk("dcmsend", peer, "+sd", files[0].parent).returncode == 0
        heard.wait_for_final(1)
        broken = tmp_path / "broken.dcm"
        broken.write_bytes(files[0].read_bytes()[:-5000])
        dcmtk("dcmsend", peer, "--no-uid-checks", broken)
        series = head_ct_series(False, slices=3, seed=2)
        send(series, peer, manner=Manner(calling="CT1"))
        heard.wait_for_final(2)
    alert = heard.finals[0]
    assert alert.study.series[0].instances == SLICES
    assert alert.study.series[0].completed_by == "count"
    assert alert.outcome != "not_analysed"
    log = site.appliance.log.read_text(encoding="utf-8")
    assert "DICOM: SCANSIDE listens on" in log
    for one in series:
        secrets = (one.PatientName, one.PatientID, one.StudyInstanceUID, one.SOPInstanceUID)
        assert not any(str(secret) in log for secret in secrets)
    assert not re.search(r"\b[0-9]+(\.[0-9]+){5,}\b", log)
    assert "Traceback" not in log


def test_a_full_disk_is_told_to_the_sender_and_the_appliance_goes_on(
    tmp_path: Path, files: list[Path]
) -> None:
    heard = Heard()
    settings = {"storage": {"folder": "studies", "keys": "keys", "reserve_mb": 1_000_000}}
    with LocalSite(tmp_path, on_alert=heard, settings=settings) as site:
        report = send(files, Peer("SCANSIDE", HOST, site.appliance.port))
        assert [one.status for one in report.sent] == [0xA700] * SLICES
        listed = site.appliance.run_cli("studies", "list")
        assert listed.stdout.startswith("No study has come in yet.")
        assert site.appliance.running
    assert heard.alerts == []
