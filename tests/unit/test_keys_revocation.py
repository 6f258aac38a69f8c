"""What an authority took back is read whole or not at all, and counts however late its list is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from arrivals import open_store
from certificates import Authority, self_signed
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from erasing import SIGNING

from edge.audit import Audit, read_entries
from edge.intake.revoked import Revoked, SeldomAudited
from edge.key_files import KeyFileError
from edge.keys.revocation import read_revocation_lists

NOW = datetime.now(timezone.utc)


@pytest.fixture
def hospital(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "hospital")


def der(certificate: Path) -> bytes:
    read = x509.load_pem_x509_certificate(certificate.read_bytes())
    return read.public_bytes(Encoding.DER)


def test_a_list_in_pem_or_der_says_what_was_taken_back(hospital: Authority, tmp_path: Path) -> None:
    stolen, good = hospital.issue("ct-stolen")[0], hospital.issue("ct-good")[0]
    pem = hospital.revoke(stolen)
    other = tmp_path / "list.crl"
    other.write_bytes(x509.load_pem_x509_crl(pem.read_bytes()).public_bytes(Encoding.DER))
    for file in (pem, other):
        lists = read_revocation_lists(file, hospital.file)
        assert lists.revoked == 1
        assert lists.has(x509.load_pem_x509_certificate(stolen.read_bytes()))
        assert not lists.has(x509.load_pem_x509_certificate(good.read_bytes()))
        assert lists.late(NOW) is None
        assert lists.unlisted == ()


def test_lists_of_several_authorities_stand_in_one_file_and_who_has_none_is_named(
    hospital: Authority, tmp_path: Path
) -> None:
    (tmp_path / "b").mkdir()
    other = Authority(tmp_path / "b", "maker")
    stolen = other.issue("ct-stolen")[0]
    alone, _ = self_signed(tmp_path, "old-ct")
    hospital.file.write_bytes(
        hospital.file.read_bytes() + other.file.read_bytes() + alone.read_bytes()
    )
    lists = hospital.revoke()
    lists.write_bytes(lists.read_bytes() + other.revoke(stolen, days=-2).read_bytes())
    read = read_revocation_lists(lists, hospital.file)
    assert read.has(x509.load_pem_x509_certificate(stolen.read_bytes()))
    assert read.unlisted == ("old-ct",)
    late = read.late(NOW)
    assert late is not None
    assert timedelta(days=1.9) < late < timedelta(days=2.1)


def test_a_number_that_another_authority_took_back_is_not_taken_back_here(
    hospital: Authority, tmp_path: Path
) -> None:
    (tmp_path / "b").mkdir()
    other = Authority(tmp_path / "b", "maker")
    stolen = other.issue("ct-stolen")[0]
    ours = read_revocation_lists(hospital.revoke(stolen), hospital.file)
    assert not ours.has(x509.load_pem_x509_certificate(stolen.read_bytes()))


def garbage(hospital: Authority) -> Path:
    file = hospital.folder / "garbage"
    file.write_text("nothing", encoding="ascii")
    return file


def cut(hospital: Authority) -> Path:
    file = hospital.revoke()
    lines = file.read_text("ascii").splitlines()
    file.write_text("\n".join([*lines[:3], lines[-1]]), encoding="ascii")
    return file


def forged(hospital: Authority) -> Path:
    (hospital.folder / "x").mkdir()
    return Authority(hospital.folder / "x", "hospital").revoke()


def strange(hospital: Authority) -> Path:
    (hospital.folder / "x").mkdir()
    return Authority(hospital.folder / "x", "stranger").revoke()


def extended(hospital: Authority, extension: x509.ExtensionType) -> Path:
    made = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(hospital.name)
        .last_update(NOW)
        .next_update(NOW + timedelta(days=1))
        .add_extension(extension, critical=True)
    )
    file = hospital.folder / "extended.pem"
    file.write_bytes(made.sign(hospital.key, hashes.SHA256()).public_bytes(Encoding.PEM))
    return file


def delta(hospital: Authority) -> Path:
    return extended(hospital, x509.DeltaCRLIndicator(1))


def partial(hospital: Authority) -> Path:
    reasons = frozenset({x509.ReasonFlags.key_compromise})
    return extended(
        hospital, x509.IssuingDistributionPoint(None, None, False, False, reasons, False, False)
    )


def unknown(hospital: Authority) -> Path:
    oid = x509.ObjectIdentifier("1.2.3.4")
    return extended(hospital, x509.UnrecognizedExtension(oid, b"\x05\x00"))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda one: one.folder / "absent", "cannot be read: No such file"),
        (garbage, "holds no revocation list"),
        (cut, "is not a revocation list .BEGIN X509 CRL., or damaged"),
        (forged, "'hospital' is not signed by that authority's key"),
        (strange, "'stranger', which is not among the authorities here"),
        (delta, "of changes alone"),
        (partial, "of a part of its certificates"),
        (unknown, "critical extension that is not known here .1.2.3.4"),
    ],
    ids=["absent", "garbage", "cut", "forged", "strange", "delta", "partial", "unknown"],
)
def test_a_list_that_cannot_be_relied_on_is_named(
    hospital: Authority, broken: Callable[[Authority], Path], said: str
) -> None:
    with pytest.raises(KeyFileError, match=said):
        read_revocation_lists(broken(hospital), hospital.file)


def test_a_list_is_read_again_when_it_changes_and_a_broken_one_does_not_unsay_it(
    hospital: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stolen = hospital.issue("ct-stolen")[0]
    file = hospital.revoke()
    revoked = Revoked(file, hospital.file)
    assert revoked.subject_of(der(stolen)) is None
    hospital.revoke(stolen)
    assert revoked.look().figures[1] == 0.0
    serial = x509.load_pem_x509_certificate(stolen.read_bytes()).serial_number
    named = f"certificate CN=ct-stolen, serial {serial:x}"
    assert revoked.subject_of(der(stolen)) == named
    file.write_text("half a file", encoding="ascii")
    for _ in range(2):
        assert "holds no revocation list" in revoked.look().problem
    assert revoked.state.figures[1] == 1.0
    assert revoked.subject_of(der(stolen)) == named
    assert sum("The list from before counts on" in one for one in caplog.messages) == 1
    assert revoked.subject_of(b"no certificate") == "certificate that cannot be looked up"


def test_a_list_that_is_late_counts_and_is_told_of_once(
    hospital: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    stolen = hospital.issue("ct-stolen")[0]
    revoked = Revoked(hospital.revoke(stolen, days=-1), hospital.file)
    for _ in range(3):
        revoked.look()
    assert revoked.subject_of(der(stolen)) is not None
    assert sum("should have been replaced by" in one for one in caplog.messages) == 1


def test_who_came_with_a_certificate_that_was_taken_back_is_in_the_audit_once_an_hour(
    tmp_path: Path,
) -> None:
    with open_store(tmp_path) as store:
        note = SeldomAudited(Audit(store.journal, lambda: SIGNING))
        for _ in range(3):
            note("certificate CN=ct-stolen, serial 1f", "192.0.2.7")
        note("certificate CN=mr-stolen, serial 20", "192.0.2.7")
        acts = [one.act for one in read_entries(store.journal, 10)]
    assert [one.on for one in acts] == [
        "certificate CN=mr-stolen, serial 20",
        "certificate CN=ct-stolen, serial 1f",
    ]
    assert {(one.what, one.outcome) for one in acts} == {
        ("sender.refused", "revoked, at 192.0.2.7")
    }
