"""``scanside training``: copy the course, find its mistakes, see and check certificates."""

from __future__ import annotations

from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
from terminal import Terminal, fresh, with_two_studies

from edge.config import load_config
from edge.keys import DeviceKeys
from edge.store.certificates import CertificateRow, CertificateStore
from edge.store.journal import Journal
from edge.training.certificate import Certificate, months_later, sign

TODAY = date.today()  # noqa: DTZ011 - as the command counts: local days


@pytest.fixture
def scanside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return fresh(tmp_path, capsys)


@pytest.fixture
def used(scanside: Terminal) -> Terminal:
    return with_two_studies(scanside)


def certificate(keys: DeviceKeys, *, issued: date = TODAY) -> Certificate:
    return Certificate(
        id="018f0000-0000-7000-8000-000000000001",
        name="زينب",
        role="technician",
        course="staff",
        version="1",
        score=9,
        of=10,
        needed=8,
        issued=issued.isoformat(),
        expires=months_later(issued, 12).isoformat(),
        device=keys.device,
        site=keys.site,
    )


def test_the_shipped_course_is_copied_and_in_order(scanside: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "course"
    assert scanside("training copy", str(folder), with_config=False) == 0
    assert f'[console] course = "{folder}"' in scanside.out
    assert scanside("training check", str(folder), with_config=False) == 0
    assert "30 questions, in en, ar; 6 cases" in scanside.out
    assert scanside("training copy", str(folder), with_config=False) == 1
    assert "exists already; it was left as it is" in scanside.err


def test_a_mistake_in_a_course_is_named_with_its_file(scanside: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "course"
    scanside("training copy", str(folder), with_config=False)
    (folder / "ar" / "keep.md").unlink()
    assert scanside("training check", str(folder), with_config=False) == 2
    assert f"{folder}/ar/keep.md: No such file or directory" in scanside.err


def test_certificates_are_listed_and_checked(used: Terminal, tmp_path: Path) -> None:
    config = load_config(used.config)
    keys = DeviceKeys.load(config.storage.keys)
    assert used("training list") == 0
    assert used.out == "Nobody has passed the test yet. It is on the console, under Training.\n"
    one = certificate(keys)
    signed = sign(one, keys.signing)
    with closing(Journal(config.storage.folder / "journal.db")) as journal:
        CertificateStore(journal).keep(
            CertificateRow(one.id, one.name, one.role, one.issued, one.expires, signed)
        )
    assert used("training list") == 0
    assert "زينب" in used.out
    file = tmp_path / "one.jws"
    file.write_text(signed + "\n")
    assert used("training verify", str(file)) == 0
    assert "Signed by this device: زينب, technician, passed staff 1 with 9 of 10" in used.out


def test_a_certificate_that_is_over_or_altered_is_said_to_be_so(
    used: Terminal, tmp_path: Path
) -> None:
    keys = DeviceKeys.load(load_config(used.config).storage.keys)
    signed = sign(certificate(keys, issued=date(2020, 2, 29)), keys.signing)
    file = tmp_path / "one.jws"
    file.write_text(signed)
    assert used("training verify", str(file)) == 1
    assert "It is not valid any more: it expired on 2021-02-28." in used.out
    file.write_text(signed[:-4] + "AAAA")
    assert "bad signature" in used.refused("training verify", str(file))
