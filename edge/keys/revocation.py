"""Revocation lists: which certificates an authority has taken back before their time.

Source: RFC 5280 section 5. OpenSSL can look into such lists itself, but during the handshake, where
nobody learns whom it turned away, and it turns everybody away once a list is a day late. Here the
certificate of a sender is looked up after the handshake, and a list that is late still counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from edge.key_files import KeyFileError
from edge.keys.tls import read_chain

_MAX_FILE = 32 << 20  # bytes; a list of a hundred thousand certificates has 4 MB
_PEM = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_DER = b"\x30"  # a SEQUENCE
_KNOWN = (x509.IssuingDistributionPoint,)  # of what a list may call critical


@dataclass(frozen=True, slots=True)
class RevocationLists:
    """The lists of one file.

    Parameters
    ----------
    lists : tuple of cryptography.x509.CertificateRevocationList
        Each signed by an authority of the site.
    unlisted : tuple of str
        Authorities of which there is none.
    """

    lists: tuple[x509.CertificateRevocationList, ...]
    unlisted: tuple[str, ...]

    @property
    def revoked(self) -> int:
        """How many certificates are taken back."""
        return sum(map(len, self.lists))

    @property
    def until(self) -> datetime | None:
        """When the first of them is to be replaced (nextUpdate), aware; None: none says when."""
        dues = (one.next_update_utc for one in self.lists)
        return min((due for due in dues if due is not None), default=None)

    def late(self, now: datetime) -> timedelta | None:
        """Return for how long one should have been replaced; None: none should."""
        until = self.until
        return None if until is None or until >= now else now - until

    def has(self, certificate: x509.Certificate) -> bool:
        """Whether a certificate is taken back by the authority that issued it."""
        serial = certificate.serial_number
        return any(
            one.issuer == certificate.issuer
            and one.get_revoked_certificate_by_serial_number(serial) is not None
            for one in self.lists
        )


def read_revocation_lists(file: Path, authorities: Path) -> RevocationLists:
    """Read lists, in PEM one after the other, or one in DER.

    Parameters
    ----------
    file : Path
    authorities : Path
        Certificates in PEM; each list has to be signed by one of them.

    Raises
    ------
    KeyFileError
        When one cannot be read, is not signed so, or names only a part of what is taken back.
    """
    signers = read_chain(authorities)
    data = _read(file)
    try:
        lists = tuple(_parse(data))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(
            f"{file} is not a revocation list (BEGIN X509 CRL), or damaged"
        ) from error
    if not lists:
        raise KeyFileError(f"{file} holds no revocation list (BEGIN X509 CRL)")
    for one in lists:
        _check(one, file, signers)
    unlisted = [one for one in signers if not any(two.issuer == one.subject for two in lists)]
    return RevocationLists(lists, tuple(_named(one.subject) for one in unlisted))


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_FILE + 1)
    except OSError as error:
        raise KeyFileError(f"{file} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_FILE:
        raise KeyFileError(f"{file} is larger than {_MAX_FILE >> 20} MB")
    return data


def _parse(data: bytes) -> Iterable[x509.CertificateRevocationList]:
    if data.startswith(_DER):
        yield x509.load_der_x509_crl(data)
        return
    for one in _PEM.findall(data):
        yield x509.load_pem_x509_crl(one)


def _check(
    one: x509.CertificateRevocationList, file: Path, signers: list[x509.Certificate]
) -> None:
    issuer = _named(one.issuer)
    named = [signer for signer in signers if signer.subject == one.issuer]
    if not named:
        raise KeyFileError(
            f"{file} holds a list of {issuer!r}, which is not among the authorities here"
        )
    if not any(_is_signed_by(one, signer) for signer in named):
        raise KeyFileError(f"{file}: the list of {issuer!r} is not signed by that authority's key")
    for extension in one.extensions:
        value = extension.value
        if isinstance(value, x509.DeltaCRLIndicator):
            raise KeyFileError(f"{file}: the list of {issuer!r} is of changes alone (delta CRL)")
        if extension.critical and not isinstance(value, _KNOWN):
            raise KeyFileError(
                f"{file}: the list of {issuer!r} has a critical extension that is not known here "
                f"({extension.oid.dotted_string})"
            )
        if isinstance(value, x509.IssuingDistributionPoint) and _is_partial(value):
            raise KeyFileError(f"{file}: the list of {issuer!r} is of a part of its certificates")


def _is_signed_by(one: x509.CertificateRevocationList, signer: x509.Certificate) -> bool:
    try:
        return one.is_signature_valid(signer.public_key())  # type: ignore[arg-type]
    except (TypeError, UnsupportedAlgorithm):  # a key of another kind
        return False


def _is_partial(where: x509.IssuingDistributionPoint) -> bool:
    """Whether a list leaves out what senders may show (RFC 5280 section 5.2.5)."""
    return bool(
        where.indirect_crl
        or where.only_some_reasons
        or where.only_contains_ca_certs
        or where.only_contains_attribute_certs
    )


def _named(name: x509.Name) -> str:
    values = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(values[0].value) if values else name.rfc4514_string()
