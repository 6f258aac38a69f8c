"""The device's TLS identity: a key made here, a request for whoever signs, the certificate.

=============== ===========================================================================
tls.key         the private key (P-256, PKCS #8, 0600); it never leaves this machine
device.csr.pem  the request (PKCS #10, RFC 2986) to hand to the site's authority
tls.next.key    the key of a request that was made to replace the present one
tls.pem         key and certificate in one file (0600), so that they change in one step
ca.pem          the authority that the broker's certificate comes from
=============== ===========================================================================

The common name is the device's: a broker takes it for the user name and lets a device write
below its own name alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.key_files import KeyFileError, check_private_folder, replace_text, write_new

REQUEST = "device.csr.pem"
CERTIFICATE = "tls.pem"
AUTHORITY = "ca.pem"
_KEY, _NEXT_KEY = "tls.key", "tls.next.key"
RENEW_DAYS = 30  # with fewer left it is said
_MAX_FILE = 64 * 1024  # bytes; a chain of three certificates has 6 kB


@dataclass(frozen=True)
class TlsCertificate:
    """A certificate as it lies in the key folder.

    Parameters
    ----------
    name : str
        Its common name.
    issuer : str
    until : datetime
        When it expires, aware.
    """

    name: str
    issuer: str
    until: datetime

    def days_left(self, now: datetime) -> int:
        """Return the whole days that it is still good for; negative once it has expired."""
        return (self.until - now).days


def make_tls(folder: Path, device: str) -> None:
    """Make the key and the request in a folder that has none yet."""
    key = ec.generate_private_key(ec.SECP256R1())
    write_new(folder / _KEY, _pem_of(key), 0o600)
    write_new(folder / REQUEST, _request(key, device), 0o644)


def write_request(folder: Path, device: str, *, new_key: bool) -> Path:
    """Write a request anew, for the present key or for a new one; return its file.

    With a new key the present one stays in use until the certificate is installed.

    Raises
    ------
    KeyFileError
        When the folder or the present key cannot be used.
    """
    check_private_folder(folder)
    if new_key:
        key = ec.generate_private_key(ec.SECP256R1())
        replace_text(folder / _NEXT_KEY, _pem_of(key), 0o600)
    elif (folder / _KEY).exists():
        key = _read_key(folder / _KEY)
    else:  # a folder of an earlier version
        key = ec.generate_private_key(ec.SECP256R1())
        write_new(folder / _KEY, _pem_of(key), 0o600)
    replace_text(folder / REQUEST, _request(key, device), 0o644)
    return folder / REQUEST


def install_certificate(folder: Path, file: Path, device: str) -> TlsCertificate:
    """Take a certificate into use, if it is this device's and its key is here.

    Parameters
    ----------
    folder : Path
        The device's key folder.
    file : Path
        PEM: the device's certificate first, then those of intermediate authorities, if any.
    device : str
        Whose it has to be.

    Raises
    ------
    KeyFileError
        When it is none, is expired, is another's, or is for a key that is not here.
    """
    check_private_folder(folder)
    chain = read_chain(file)
    leaf = _described(chain[0])
    now = datetime.now(timezone.utc)
    if leaf.until <= now:
        raise KeyFileError(f"{file}: the certificate expired on {leaf.until:%Y-%m-%d}")
    if chain[0].not_valid_before_utc > now:
        raise KeyFileError(f"{file}: the certificate is not valid yet. Is the clock right?")
    if leaf.name != device:
        raise KeyFileError(
            f"{file}: the certificate is of {leaf.name!r}, this device is {device!r}"
        )
    if not _is_for(chain[0], ExtendedKeyUsageOID.CLIENT_AUTH):
        raise KeyFileError(f"{file}: the certificate is not for TLS clients (extended key usage)")
    keys = [name for name in (_KEY, _NEXT_KEY) if (folder / name).exists()]
    fitting = [name for name in keys if _fits(_read_key(folder / name), chain[0])]
    if not fitting:
        raise KeyFileError(
            f"{file}: the certificate is for another key than this device's.\n"
            f"  Have {folder / REQUEST} signed; a new one is made by: scanside keys csr"
        )
    key = _read_key(folder / fitting[0])
    pem = "".join(one.public_bytes(Encoding.PEM).decode() for one in chain)
    replace_text(folder / CERTIFICATE, _pem_of(key) + pem, 0o600)
    if fitting[0] == _NEXT_KEY:
        (folder / _NEXT_KEY).replace(folder / _KEY)
    return leaf


def install_authority(folder: Path, file: Path) -> str:
    """Trust the authority of the broker's certificate; return its name. Raises `KeyFileError`."""
    check_private_folder(folder)
    chain = read_chain(file)
    pem = "".join(one.public_bytes(Encoding.PEM).decode() for one in chain)
    replace_text(folder / AUTHORITY, pem, 0o644)
    return _described(chain[0]).name


def read_certificate(file: Path) -> TlsCertificate:
    """Return what a file in PEM says of its first certificate; raises `KeyFileError`."""
    return _described(read_chain(file)[0])


def read_server_certificate(file: Path) -> TlsCertificate:
    """Return what a file says of its first certificate, which has to be for TLS servers.

    Raises
    ------
    KeyFileError
        When it cannot be read, or is for clients alone (RFC 5280 section 4.2.1.12).
    """
    leaf = read_chain(file)[0]
    if not _is_for(leaf, ExtendedKeyUsageOID.SERVER_AUTH):
        raise KeyFileError(f"{file}: the certificate is not for TLS servers (extended key usage)")
    return _described(leaf)


def read_chain(file: Path) -> list[x509.Certificate]:
    """Return the certificates of a file in PEM; raises `KeyFileError`."""
    try:
        with file.open("rb") as stream:
            chain = x509.load_pem_x509_certificates(stream.read(_MAX_FILE))
    except OSError as error:
        raise KeyFileError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{file} is not a certificate in PEM (BEGIN CERTIFICATE)") from error
    return chain


def _read_key(file: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(file.read_bytes()[:_MAX_FILE], None)
    except OSError as error:
        raise KeyFileError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{file} is not a private key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyFileError(f"{file} is not a key on an elliptic curve, as Scanside makes them")
    return key


def _described(certificate: x509.Certificate) -> TlsCertificate:
    return TlsCertificate(
        _common_name(certificate.subject),
        _common_name(certificate.issuer),
        certificate.not_valid_after_utc,
    )


def _common_name(name: x509.Name) -> str:
    values = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(values[0].value) if values else ""


def _is_for(certificate: x509.Certificate, wanted: x509.ObjectIdentifier) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True  # for everything: RFC 5280 section 4.2.1.12
    return wanted in usage


def _fits(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bool:
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)


def _request(key: ec.EllipticCurvePrivateKey, device: str) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return request.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
