"""DICOM over TLS: what we show, who is let in by its certificate, and why somebody is not.

The BCP 195 profile of DICOM (PS3.15 B.12, which is RFC 8996 and RFC 9325): TLS 1.2 or 1.3, no
compression, no renegotiation, only suites with forward secrecy and authenticated encryption.
Senders must show a certificate of the configured authority.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from edge.config import ConfigError, Dicom
from edge.intake.revoked import Revoked
from edge.key_files import KeyFileError, Stamp, stamp_of
from edge.keys.tls import TlsCertificate, read_certificate, read_server_certificate

log = logging.getLogger("scanside.intake")

_SUITES = "ECDHE+AESGCM"  # of TLS 1.2; those of 1.3 are all as RFC 9325 section 4.2 wants them
TLS_RECORD = b"\x16\x03"  # a handshake, of SSL 3.0 or later (RFC 8446 section 5.1)
_NOT_YET_VALID, _EXPIRED, _UNSUITABLE = 9, 10, 26  # OpenSSL's X509_V_ERR_...
_SHOWN_NAMES = 4


class DicomTlsError(ConfigError):
    """The files for DICOM over TLS cannot be used; the text names key and file, and what to do."""


class Refusal(str, Enum):
    """Why a sender is turned away at the TLS port, or for TLS at the other; labels of a metric."""

    NO_TLS = "no_tls"
    TLS_ON_PLAIN_PORT = "tls_on_plain_port"
    NO_COMMON_TLS = "no_common_tls"
    NO_CERTIFICATE = "no_certificate"
    OTHER_AUTHORITY = "other_authority"
    NOT_VALID_NOW = "not_valid_now"
    NOT_FOR_CLIENTS = "not_for_clients"
    REVOKED = "revoked"
    NOT_A_PEER = "not_a_peer"
    DOES_NOT_TRUST_US = "does_not_trust_us"
    SILENT = "silent"
    BROKE_OFF = "broke_off"

    @property
    def text(self) -> str:
        """What is wrong with the sender, to follow on 'it'."""
        return _SAID[self]


_SAID = {
    Refusal.NO_TLS: "speaks no TLS at the port that wants it",
    Refusal.TLS_ON_PLAIN_PORT: "speaks TLS at the port without; [dicom] tls_port is for that",
    Refusal.NO_COMMON_TLS: "has no TLS version from 1.2, or no cipher suite, in common with us",
    Refusal.NO_CERTIFICATE: "shows no certificate",
    Refusal.OTHER_AUTHORITY: "shows a certificate that does not come from [dicom] ca",
    Refusal.NOT_VALID_NOW: "shows a certificate that has expired or is not valid yet",
    Refusal.NOT_FOR_CLIENTS: "shows a certificate that is not for TLS clients",
    Refusal.REVOKED: "shows a certificate that was taken back: it is on the list of [dicom] crl",
    Refusal.NOT_A_PEER: "shows a certificate whose name is not among [dicom] tls_peers",
    Refusal.DOES_NOT_TRUST_US: "does not accept our certificate; it must know its authority",
    Refusal.SILENT: "was silent in the handshake",
    Refusal.BROKE_OFF: "broke off the handshake, or made way for others",
}

_OF_OPENSSL = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": Refusal.NO_CERTIFICATE,
    "UNSUPPORTED_PROTOCOL": Refusal.NO_COMMON_TLS,
    "NO_SHARED_CIPHER": Refusal.NO_COMMON_TLS,
    "TLSV1_ALERT_PROTOCOL_VERSION": Refusal.NO_COMMON_TLS,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": Refusal.NO_COMMON_TLS,
}


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """A sender that was.

    Parameters
    ----------
    why : Refusal
    address : str
        Empty where its certificate says more.
    certificate : str
        Whose it shows, where that is the reason.
    """

    why: Refusal
    address: str = ""
    certificate: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.certificate, self.address)))


def is_tls(head: bytes | bytearray) -> bool:
    """Return whether a connection that begins like this speaks TLS; DICOM begins with 01."""
    return head.startswith(TLS_RECORD)


def refusal_of(error: OSError) -> Refusal:
    """Return why a handshake failed, from what was raised in it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in {_NOT_YET_VALID, _EXPIRED}:
            return Refusal.NOT_VALID_NOW
        is_unsuitable = error.verify_code == _UNSUITABLE
        return Refusal.NOT_FOR_CLIENTS if is_unsuitable else Refusal.OTHER_AUTHORITY
    if isinstance(error, TimeoutError):
        return Refusal.SILENT
    reason = getattr(error, "reason", None) or ""
    if reason in _OF_OPENSSL:
        return _OF_OPENSSL[reason]
    # What is left of a client's alerts is about a certificate: unknown CA, bad, expired.
    return Refusal.DOES_NOT_TRUST_US if "_ALERT_" in reason else Refusal.BROKE_OFF


def names_in(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names that a certificate gives its holder.

    Parameters
    ----------
    certificate : mapping
        As `ssl.SSLSocket.getpeercert` returns it.

    Returns
    -------
    tuple of str
        Common names, then DNS names and addresses (RFC 5280 section 4.2.1.6).
    """
    pairs = [pair for part in certificate.get("subject", ()) for pair in part]
    common = [value for kind, value in pairs if kind == "commonName"]
    others = [
        value
        for kind, value in certificate.get("subjectAltName", ())
        if kind in {"DNS", "IP Address"}
    ]
    return (*common, *others)


def is_peer(names: tuple[str, ...], allowed: tuple[str, ...]) -> bool:
    """Return whether one of a certificate's names may send; an empty list allows each."""
    wanted = {name.casefold() for name in allowed}
    return not wanted or any(name.casefold() in wanted for name in names)


def shown(names: tuple[str, ...]) -> str:
    """Return a certificate's names for the log: quoted, a few, and not long."""
    return ", ".join(repr(name[:64]) for name in names[:_SHOWN_NAMES]) or "no name"


class Credentials:
    """Our certificate, its key, and the senders' authority with what it took back.

    Replaced files count at once.

    Parameters
    ----------
    settings : Dicom
        With `tls_port`.

    Raises
    ------
    DicomTlsError
        If a file cannot be used.
    """

    def __init__(self, settings: Dicom) -> None:
        if settings.cert is None or settings.key is None or settings.ca is None:
            raise DicomTlsError("[dicom] TLS needs cert, key and ca.")
        self._cert, self._key, self._ca = settings.cert, settings.key, settings.ca
        self._stamp = self._look()
        self.certificate, self.authority, self._context = self._load()
        try:
            self.revoked = None if settings.crl is None else Revoked(settings.crl, settings.ca)
        except KeyFileError as error:
            raise DicomTlsError(
                f"[dicom] crl: {error}.\n"
                "  It must hold the revocation list of an authority in [dicom] ca, in PEM or DER."
            ) from error

    def context(self) -> ssl.SSLContext:
        """Return the context for the next sender; the former one while new files do not fit."""
        if self.revoked is not None:
            self.revoked.look()
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self.certificate, self.authority, self._context = self._load()
            except DicomTlsError as error:
                log.warning("The replaced files are not used: %s", error)
            else:
                log.info("DICOM over TLS: the certificate of %s is used", self._cert)
        return self._context

    def client_context(self) -> ssl.SSLContext:
        """Return the context with which we call others: our certificate, and theirs checked.

        Not their names: DICOM peers are configured by address.

        Raises
        ------
        DicomTlsError
            If a file was replaced by one that cannot be used.
        """
        if self.revoked is not None:
            self.revoked.look()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_SUITES)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._fill(context)
        return context

    def _look(self) -> tuple[Stamp | None, ...]:
        return tuple(stamp_of(file) for file in (self._cert, self._key, self._ca))

    def _load(self) -> tuple[TlsCertificate, TlsCertificate, ssl.SSLContext]:
        try:
            certificate = read_server_certificate(self._cert)
        except KeyFileError as error:
            raise DicomTlsError(f"[dicom] cert: {error}.") from error
        try:
            authority = read_certificate(self._ca)
        except KeyFileError as error:
            raise DicomTlsError(f"[dicom] ca: {error}.") from error
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_SUITES)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        # Nobody resumes a session here. A client that reads before it has anything to read would
        # wait for more behind the ticket, and not send its request.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
        context.verify_mode = ssl.CERT_REQUIRED
        # The authority that signs for scanners is trusted for itself, without the root above it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._fill(context)
        return certificate, authority, context

    def _fill(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(self._cert, self._key, password=lambda: b"")
        except OSError as error:  # an ssl.SSLError is one, too
            raise DicomTlsError(
                f"[dicom] key: {self._key}: {_why(error)}.\n"
                f"  It must be the key of {self._cert}, in PEM and without passphrase."
            ) from error
        try:
            context.load_verify_locations(self._ca)
        except OSError as error:
            raise DicomTlsError(
                f"[dicom] ca: {self._ca}: {_why(error)}.\n"
                "  It must hold the certificate of the authority, in PEM."
            ) from error


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "cannot be used").replace("_", " ").lower()
    return error.strerror or os.strerror(error.errno or 0)
