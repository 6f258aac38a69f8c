"""The TLS identity: a key that stays here, and a certificate that has to fit it."""

from __future__ import annotations

import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.alerts.broker import TlsSettings, broker_settings, tls_context
from edge.config import Broker
from edge.keys import KeyFileError, init_device
from edge.keys.tls import (
    CERTIFICATE,
    REQUEST,
    install_authority,
    install_certificate,
    read_certificate,
    write_request,
)

NOW = datetime.now(timezone.utc)
CA_KEY = ec.generate_private_key(ec.SECP256R1())
CA_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the hospital")])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    init_device(tmp_path / "keys", device="ct-1", site="north")
    return tmp_path / "keys"


def signed(
    folder: Path,
    *,
    name: str = "ct-1",
    begins: timedelta = timedelta(hours=-1),
    ends: timedelta = timedelta(days=90),
    usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CLIENT_AUTH,
) -> Path:
    """Sign the device's request, as a hospital's authority does; return the certificate's file."""
    request = x509.load_pem_x509_csr((folder / REQUEST).read_bytes())
    assert request.is_signature_valid
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(CA_NAME)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + begins)
        .not_valid_after(NOW + ends)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    file = folder.parent / "signed.pem"
    file.write_bytes(builder.sign(CA_KEY, hashes.SHA256()).public_bytes(Encoding.PEM))
    return file


def test_a_device_has_a_key_of_its_own_and_a_request_in_its_name(folder: Path) -> None:
    assert stat.S_IMODE((folder / "tls.key").stat().st_mode) == 0o600
    request = x509.load_pem_x509_csr((folder / REQUEST).read_bytes())
    (name,) = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == "ct-1"
    assert b"PRIVATE" not in (folder / REQUEST).read_bytes()


def test_a_signed_certificate_is_used_with_its_key(folder: Path) -> None:
    taken = install_certificate(folder, signed(folder), "ct-1")
    assert (taken.name, taken.issuer) == ("ct-1", "the hospital")
    assert read_certificate(folder / CERTIFICATE) == taken
    assert stat.S_IMODE((folder / CERTIFICATE).stat().st_mode) == 0o600
    tls_context(TlsSettings(cert=folder / CERTIFICATE))


def test_what_was_installed_is_used_where_the_configuration_names_nothing_else(
    folder: Path,
) -> None:
    settings = broker_settings(Broker(), "ct-1", folder)
    assert settings.tls == TlsSettings()
    install_certificate(folder, signed(folder), "ct-1")
    install_authority(folder, folder.parent / "signed.pem")
    settings = broker_settings(Broker(), "ct-1", folder)
    assert settings.tls == TlsSettings(folder / "ca.pem", folder / CERTIFICATE)
    own = Broker(ca=Path("/a"), cert=Path("/c"), key=Path("/k"))
    tls = broker_settings(own, "ct-1", folder).tls
    assert tls == TlsSettings(Path("/a"), Path("/c"), Path("/k"))


def test_a_key_is_renewed_without_a_moment_without_one(folder: Path) -> None:
    install_certificate(folder, signed(folder), "ct-1")
    before = (folder / CERTIFICATE).read_bytes()
    write_request(folder, "ct-1", new_key=True)
    assert (folder / CERTIFICATE).read_bytes() == before
    tls_context(TlsSettings(cert=folder / CERTIFICATE))
    install_certificate(folder, signed(folder), "ct-1")
    assert (folder / CERTIFICATE).read_bytes() != before
    tls_context(TlsSettings(cert=folder / CERTIFICATE))
    assert not (folder / "tls.next.key").exists()
    install_certificate(folder, signed(folder), "ct-1")  # once more is no harm


def test_a_request_is_written_again_for_the_same_key(folder: Path) -> None:
    certificate = signed(folder)
    write_request(folder, "ct-1", new_key=False)
    install_certificate(folder, certificate, "ct-1")


def test_a_folder_of_an_earlier_version_gets_its_key(folder: Path) -> None:
    (folder / "tls.key").unlink()
    write_request(folder, "ct-1", new_key=False)
    install_certificate(folder, signed(folder), "ct-1")


def test_an_expired_certificate_is_refused(folder: Path) -> None:
    file = signed(folder, begins=timedelta(days=-9), ends=timedelta(days=-1))
    with pytest.raises(KeyFileError, match="expired"):
        install_certificate(folder, file, "ct-1")
    assert not (folder / CERTIFICATE).exists()


def test_a_certificate_that_is_not_valid_yet_is_refused(folder: Path) -> None:
    with pytest.raises(KeyFileError, match="clock"):
        install_certificate(folder, signed(folder, begins=timedelta(hours=2)), "ct-1")


def test_another_devices_certificate_is_refused(folder: Path) -> None:
    with pytest.raises(KeyFileError, match="this device is 'ct-1'"):
        install_certificate(folder, signed(folder, name="ct-2"), "ct-1")


def test_a_servers_certificate_is_refused(folder: Path) -> None:
    server = signed(folder, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    with pytest.raises(KeyFileError, match="not for TLS clients"):
        install_certificate(folder, server, "ct-1")
    install_certificate(folder, signed(folder, usage=None), "ct-1")


def test_a_certificate_for_another_key_is_refused_with_what_to_do(
    folder: Path, tmp_path: Path
) -> None:
    init_device(tmp_path / "other" / "keys", device="ct-1", site="north")
    with pytest.raises(KeyFileError, match="scanside keys csr"):
        install_certificate(folder, signed(tmp_path / "other" / "keys"), "ct-1")


@pytest.mark.parametrize("content", [b"", b"\xff", b"-----BEGIN CERTIFICATE-----\nx\n"])
def test_garbage_is_no_certificate(folder: Path, content: bytes) -> None:
    file = folder.parent / "garbage.pem"
    file.write_bytes(content)
    with pytest.raises(KeyFileError, match=r"garbage\.pem is not a certificate"):
        install_certificate(folder, file, "ct-1")
    with pytest.raises(KeyFileError, match="cannot be read"):
        install_certificate(folder, folder.parent / "absent.pem", "ct-1")
