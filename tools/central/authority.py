"""A site's own certificate authority, for a hospital that has none to lend.

It signs what a broker, a central server and the devices prove themselves with on the way to
the broker (TLS). It signs requests (PKCS #10, RFC 2986): whoever asks has made the key himself
and keeps it. What was signed is kept by serial number, so that a name can be revoked; the list of
what was revoked (CRL, RFC 5280 section 5) is for the broker.

A folder (0700) holds ``ca.pem``, ``ca.key`` (0600), ``issued/SERIAL.pem`` and ``revoked.json``.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.key_files import check_private_folder, sync_folder, write_new
from edge.names import check_name

CA_DAYS = 20 * 365
CERTIFICATE_DAYS = 2 * 365
_CLOCKS_DIFFER = timedelta(hours=1)  # a device whose clock is a little slow is let in at once
_MAX_REQUEST = 16 * 1024  # bytes; a request on P-256 has 500


class AuthorityError(ValueError):
    """The authority cannot do what was asked. The text says why and what to do."""


class Role(Enum):
    """What a certificate is for (extended key usage, RFC 5280 section 4.2.1.12)."""

    BROKER = "broker"
    CENTRAL = "central"
    DEVICE = "device"


@dataclass(frozen=True)
class Authority:
    """A certificate authority, opened. Its repr shows no key."""

    folder: Path
    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def make(cls, folder: Path, site: str) -> Authority:
        """Make an authority in a new folder.

        Parameters
        ----------
        folder : Path
            Absent; its parent exists.
        site : str
            Named in the authority's certificate.

        Raises
        ------
        AuthorityError
            When there is one already: a second one would lock out every device.
        """
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, f"Scanside {check_name(site, 'site')}"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, site),
            ]
        )
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(name, name, key.public_key(), CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        try:
            folder.mkdir(mode=0o700)
            (folder / "issued").mkdir(mode=0o700)
            write_new(folder / "ca.key", _pem_of_key(key), 0o600)
            write_new(folder / "ca.pem", _pem(certificate), 0o644)
        except OSError as error:
            msg = f"{folder}: cannot make an authority: {error.strerror}"
            raise AuthorityError(msg) from error
        sync_folder(folder)
        return cls(folder, certificate, key)

    @classmethod
    def load(cls, folder: Path) -> Authority:
        """Open an authority; raises `AuthorityError`, or `KeyFileError` when others may read it."""
        check_private_folder(folder)
        try:
            certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
            key = load_pem_private_key((folder / "ca.key").read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            msg = f"{folder} holds no authority that can be read. Restore it from a backup."
            raise AuthorityError(msg) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            msg = f"{folder / 'ca.key'} is not a key on P-256. Restore it from a backup."
            raise AuthorityError(msg)
        return cls(folder, certificate, key)

    def sign(
        self,
        request: x509.CertificateSigningRequest,
        name: str,
        role: Role,
        *,
        hosts: Sequence[str] = (),
        days: int = CERTIFICATE_DAYS,
    ) -> x509.Certificate:
        """Sign a request.

        Parameters
        ----------
        request : x509.CertificateSigningRequest
            Its key is taken from it, and nothing else: names and rights are ours to give.
        name : str
            The common name: the broker's access rules go by it.
        role : Role
        hosts : sequence of str
            Names and addresses under which a broker is reached.
        days : int
            How long the certificate is valid.

        Raises
        ------
        AuthorityError
            When the request is not signed by its own key, or the key is too weak.
        """
        key = _key_of(request)
        purpose = ExtendedKeyUsageOID
        usage = purpose.SERVER_AUTH if role is Role.BROKER else purpose.CLIENT_AUTH
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, check_name(name, "name")),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role.value),
            ]
        )
        builder = (
            _builder(subject, self.certificate.subject, key, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        place = self.folder / "issued" / f"{certificate.serial_number:040x}.pem"
        write_new(place, _pem(certificate), 0o644)
        sync_folder(place.parent)
        return certificate

    def issued(self, name: str) -> list[x509.Certificate]:
        """Return the certificates given to a name that are neither expired nor revoked."""
        revoked, now = self._revoked(), datetime.now(timezone.utc)
        return [
            one
            for one in self._all_issued()
            if common_name(one) == name
            and _serial(one) not in revoked
            and one.not_valid_after_utc > now
        ]

    def revoke(self, name: str) -> int:
        """Revoke every certificate of a name; return how many there were."""
        revoked = self._revoked()
        mine = self.issued(name)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        revoked |= {_serial(one): now for one in mine}
        replace_file(self.folder / "revoked.json", json.dumps(revoked, indent=2) + "\n", 0o600)
        return len(mine)

    def revocation_list(self) -> str:
        """Return the list of what is revoked, as PEM.

        It is valid as long as the authority: a broker with a list out of date turns everybody
        away, and a list that lies beside the broker is renewed by `revoke`, not by a date.
        """
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now)
            .next_update(self.certificate.not_valid_after_utc)
            .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        for serial, when in self._revoked().items():
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(int(serial, 16))
                .revocation_date(datetime.fromisoformat(when))
                .build()
            )
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(Encoding.PEM).decode()

    def _all_issued(self) -> Iterator[x509.Certificate]:
        for file in sorted((self.folder / "issued").glob("*.pem")):
            yield x509.load_pem_x509_certificate(file.read_bytes())

    def _revoked(self) -> dict[str, str]:
        file = self.folder / "revoked.json"
        if not file.exists():
            return {}
        try:
            revoked: dict[str, str] = json.loads(file.read_text("utf-8"))
        except ValueError as error:
            msg = f"{file} is damaged. Restore it from a backup: who was revoked stands in it."
            raise AuthorityError(msg) from error
        return revoked


def make_request(name: str) -> tuple[x509.CertificateSigningRequest, str]:
    """Make a TLS key for this machine itself.

    Returns
    -------
    request : x509.CertificateSigningRequest
    key : str
        PKCS #8 in PEM.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return request.sign(key, hashes.SHA256()), _pem_of_key(key)


def read_request(file: Path) -> x509.CertificateSigningRequest:
    """Read a request in PEM; raises `AuthorityError`."""
    try:
        with file.open("rb") as stream:
            return x509.load_pem_x509_csr(stream.read(_MAX_REQUEST))
    except OSError as error:
        msg = f"{file} cannot be read: {error.strerror}"
        raise AuthorityError(msg) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        msg = f"{file} is not a certificate signing request in PEM (BEGIN CERTIFICATE REQUEST)"
        raise AuthorityError(msg) from error


def common_name(signed: x509.Certificate | x509.CertificateSigningRequest) -> str:
    """Return the common name of a certificate or request; empty without one."""
    names = signed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def pem(certificate: x509.Certificate) -> str:
    """Return a certificate as text."""
    return _pem(certificate)


def replace_file(file: Path, text: str, mode: int) -> None:
    """Write a file whole or leave it as it was; it keeps its owner."""
    work = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        write_new(work, text, mode)
        if file.exists() and os.geteuid() == 0:
            owner = file.stat()
            os.chown(work, owner.st_uid, owner.st_gid)
        work.replace(file)
    finally:
        work.unlink(missing_ok=True)
    sync_folder(file.parent)


_Key = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


def _builder(
    subject: x509.Name, issuer: x509.Name, key: _Key, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_of(request: x509.CertificateSigningRequest) -> _Key:
    key = request.public_key()
    good = isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size >= 256
    if not (good or isinstance(key, ed25519.Ed25519PublicKey)):
        msg = "The request's key is not on P-256 or better. Make it with: scanside keys csr"
        raise AuthorityError(msg)
    try:
        signed = request.is_signature_valid
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        signed = False
    if not signed:
        msg = "The request is not signed by its own key: it was altered on the way."
        raise AuthorityError(msg)
    return key  # type: ignore[return-value] # told apart above


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _serial(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:040x}"


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
