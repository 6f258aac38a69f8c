"""`scanside check` of what scanners need: certificates in time, reports that arrive."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from certificates import Authority
from terminal import Terminal, fresh, with_two_studies

from edge.config import load_config
from edge.store.commitments import Commitments, Reference
from edge.store.journal import Journal

# The MQTT library leaves the sockets of a failed connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return with_two_studies(fresh(tmp_path, capsys))


def with_tls(terminal: Terminal, cert: Path, key: Path, ca: Path, crl: Path | None = None) -> None:
    """Have the appliance listen with these files."""
    text = terminal.config.read_text(encoding="utf-8")
    before, rest = text.split("\n[dicom]\n")
    section, after = rest.split("\n[analysis]\n")
    for name, value in (("cert", cert), ("key", key), ("ca", ca)):
        section = section.replace(f"# {name} =", f'{name} = "{value}"')
    if crl is not None:
        section = section.replace("# crl =", f'crl = "{crl}"')
    section = section.replace("# tls_port =", "tls_port = 2762")
    terminal.config.write_text(f"{before}\n[dicom]\n{section}\n[analysis]\n{after}", "utf-8")


@pytest.mark.parametrize(
    ("hours", "code", "line"),
    [
        (24.0 * 90, 0, "ok   dicom certificate: scanside-1, by hospital, until "),
        (24.0 * 9, 0, "warn dicom certificate: scanside-1, by hospital, until "),
        (-1.0, 1, "FAIL dicom certificate: scanside-1, by hospital, until "),
    ],
)
def test_check_says_how_long_the_certificate_for_scanners_is_good(
    used: Terminal, tmp_path: Path, hours: float, code: int, line: str
) -> None:
    hospital = Authority(tmp_path, "hospital")
    with_tls(used, *hospital.issue("scanside-1", hours=hours), hospital.file)
    assert used("check") == code
    assert line in used.out
    assert ("EXPIRED" in used.out) is (hours < 0)


def test_check_names_a_file_that_cannot_be_used(used: Terminal, tmp_path: Path) -> None:
    hospital = Authority(tmp_path, "hospital")
    cert, _ = hospital.issue("scanside-1")
    _, key = hospital.issue("another")
    with_tls(used, cert, key, hospital.file)
    assert used("check") == 1
    assert f"FAIL dicom certificate: [dicom] key: {key}: key values mismatch" in used.out


def test_check_says_how_the_revocation_list_stands(used: Terminal, tmp_path: Path) -> None:
    hospital = Authority(tmp_path, "hospital")
    ours = hospital.issue("scanside-1", hours=24.0 * 90)
    crl = hospital.revoke(ours[0])
    with_tls(used, *ours, hospital.file, crl)
    assert used("check") == 0
    assert "ok   dicom revocation list: 1 certificates taken back, to be replaced by 20" in used.out
    hospital.revoke(days=-1)
    assert used("check") == 0
    assert "warn dicom revocation list: 0 certificates taken back" in used.out
    assert "LATE" in used.out
    hospital.revoke()
    (tmp_path / "b").mkdir()
    other = Authority(tmp_path / "b", "maker").file.read_bytes()
    hospital.file.write_bytes(hospital.file.read_bytes() + other)
    assert used("check") == 0
    assert "there is no list of maker" in used.out
    crl.write_text("half a file", encoding="ascii")
    assert used("check") == 1
    assert f"FAIL dicom certificate: [dicom] crl: {crl} holds no revocation list" in used.out


def test_check_names_scanners_whose_storage_commitment_report_waits(used: Terminal) -> None:
    config = load_config(used.config)
    with closing(Journal(config.storage.folder / "journal.db")) as journal:
        Commitments(journal).keep("CT1", "1.2.3", [Reference("1.2", "1.2.4")], 1_700_000_000.0)
    assert used("check") == 0
    assert "warn storage commitment: reports wait: 1 for 'CT1'" in used.out
