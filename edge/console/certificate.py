"""The console's certificate: the hospital's, or one of the device's own making.

A self-signed certificate protects against listeners once its fingerprint was compared; the
daemon's log and `scanside check` say it. A hospital with an authority sets `[console] cert` and
`key` instead.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.config import Config, ConfigError

_VALID = timedelta(days=820)  # browsers refuse more than 825
_RENEW = timedelta(days=30)
_CERT, _KEY = "console-cert.pem", "console-key.pem"


class CertificateError(ConfigError):
    """A certificate cannot be used; the text names the file and says what to do."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, in PEM files; `fingerprint` is SHA-256 as browsers show it."""

    cert: Path
    key: Path
    fingerprint: str
    expires: datetime


def read_certificate(cert: Path, key: Path) -> Certificate:
    """Read a certificate to say which it is.

    Raises
    ------
    CertificateError
        If a file is absent or holds no certificate in PEM.
    """
    try:
        parsed = x509.load_pem_x509_certificate(cert.read_bytes())
        key.stat()
    except OSError as error:
        raise CertificateError(
            f"{error.filename}: {error.strerror}.\n  [console] cert and key name PEM files that "
            "the daemon may read; unset both for a certificate of the device's own."
        ) from error
    except ValueError as error:
        raise CertificateError(f"{cert}: no certificate in PEM.") from error
    digest = parsed.fingerprint(hashes.SHA256()).hex(":").upper()
    return Certificate(cert, key, digest, parsed.not_valid_after_utc)


def present_certificate(config: Config) -> Certificate | None:
    """Return the certificate that the console would serve with, or None before it is made.

    Raises
    ------
    CertificateError
        If it cannot be used.
    """
    settings = config.console
    if settings.cert is not None and settings.key is not None:
        return read_certificate(settings.cert, settings.key)
    folder = own_folder(config)
    if not (folder / _CERT).exists():
        return None
    return read_certificate(folder / _CERT, folder / _KEY)


def own_folder(config: Config) -> Path:
    """Return where the device keeps the certificate that it signs itself."""
    return config.storage.folder / "console"


def own_certificate(folder: Path, name: str, *, now: datetime) -> Certificate:
    """Return the device's self-signed certificate; made when absent, for another name, or old.

    Parameters
    ----------
    folder : Path
        Private to the daemon; made when absent.
    name : str
        By which browsers reach the console: a DNS name or an address.
    now : datetime
        With a time zone.
    """
    cert, key = folder / _CERT, folder / _KEY
    if cert.exists() and key.exists() and _is_for(cert, name, now):
        return read_certificate(cert, key)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = ec.generate_private_key(ec.SECP256R1())
    signed = _sign(private, name, now)
    _write(
        key,
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    _write(cert, signed.public_bytes(serialization.Encoding.PEM))
    return read_certificate(cert, key)


def _is_for(cert: Path, name: str, now: datetime) -> bool:
    try:
        parsed = x509.load_pem_x509_certificate(cert.read_bytes())
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    return _general_name(name) in names and parsed.not_valid_after_utc - now > _RENEW


def _sign(private: ec.EllipticCurvePrivateKey, name: str, now: datetime) -> x509.Certificate:
    # 64 characters at most in a common name (RFC 5280, ub-common-name); browsers read the others.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    names = dict.fromkeys([_general_name(name), *map(_general_name, ("localhost", "127.0.0.1"))])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # the tablet's clock may be behind
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(file: Path, content: bytes) -> None:
    """Write a private file whole or not at all."""
    work = file.with_suffix(".new")
    with os.fdopen(os.open(work, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    work.replace(file)
