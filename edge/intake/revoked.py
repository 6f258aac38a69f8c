"""Whether a sender's certificate was taken back, by a list that is read anew when it changes.

A list that cannot be used any more does not unsay the one before; one that is late still counts,
for a hospital whose authority publishes late has scanners that must send. Both are told.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509

from edge.audit import DAEMON, Act, Audit
from edge.key_files import KeyFileError, Stamp, stamp_of
from edge.keys.revocation import RevocationLists, read_revocation_lists

_LONGEST_NAME = 100
_AUDITED_EVERY_S = 3600.0

log = logging.getLogger("scanside.intake")


@dataclass(frozen=True, slots=True)
class RevocationState:
    """How the lists stand.

    Parameters
    ----------
    lists : RevocationLists
        Those in force.
    problem : str
        Why what is in the file now is not; empty where it is.
    """

    lists: RevocationLists
    problem: str = ""

    @property
    def figures(self) -> tuple[float, float]:
        """When it is to be replaced, seconds since the epoch; 1 if what is there is not used."""
        until = self.lists.until
        return math.inf if until is None else until.timestamp(), float(bool(self.problem))


class Revoked:
    """The lists of ``[dicom] crl``.

    Threads may share it.

    Parameters
    ----------
    file : Path
    authorities : Path
        ``[dicom] ca``.

    Raises
    ------
    KeyFileError
        If there is no list to begin with.
    """

    def __init__(self, file: Path, authorities: Path) -> None:
        self._file = file
        self._authorities = authorities
        self._stamp = self._seen()
        self.state = RevocationState(read_revocation_lists(file, authorities))
        self._told_late: datetime | None = None
        self._lock = threading.Lock()  # guards all above: one thread at a time reads the file

    def look(self) -> RevocationState:
        """Read the list anew if the file has changed; say what is wrong with it, once."""
        with self._lock:
            self._look()
            return self.state

    def _look(self) -> None:
        stamp = self._seen()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self.state = RevocationState(read_revocation_lists(self._file, self._authorities))
            except KeyFileError as error:
                self.state = RevocationState(self.state.lists, str(error))
                log.warning("The list from before counts on. [dicom] crl: %s", error)
            else:
                number = self.state.lists.revoked
                log.info("Revocation list: %s is used, %d certificates", self._file, number)
        until = self.state.lists.until
        if until != self._told_late and self.state.lists.late(datetime.now(timezone.utc)):
            self._told_late = until
            log.warning(
                "The revocation list %s should have been replaced by %s; it counts until it is",
                self._file,
                f"{until:%Y-%m-%d %H:%M} UTC",
            )

    def _seen(self) -> tuple[Stamp | None, ...]:
        return stamp_of(self._file), stamp_of(self._authorities)

    def subject_of(self, certificate: bytes) -> str | None:
        """Return whose certificate it is if it was taken back, None if it was not.

        One that cannot be looked up counts as taken back.

        Parameters
        ----------
        certificate : bytes
            DER.
        """
        try:
            shown = x509.load_der_x509_certificate(certificate)
            name, serial = shown.subject.rfc4514_string(), f"{shown.serial_number:x}"
        except ValueError:  # OpenSSL takes more than what can be looked up here
            return "certificate that cannot be looked up"
        if not self.state.lists.has(shown):
            return None
        return f"certificate {name[:_LONGEST_NAME]}, serial {serial}"


class SeldomAudited:
    """Notes in the audit who came with a certificate that was taken back, each once an hour.

    A scanner tries again and again, and the audit is kept for good.

    Parameters
    ----------
    audit : Audit
    """

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._lock = threading.Lock()  # guards _noted
        self._noted: dict[str, float] = {}  # by certificate, on the monotonic clock

    def __call__(self, certificate: str, address: str) -> None:
        """Note it, unless that was done within the hour. Called by any thread."""
        now = time.monotonic()
        with self._lock:
            if now - self._noted.get(certificate, -math.inf) < _AUDITED_EVERY_S:
                return
            self._noted[certificate] = now
        try:
            self._audit.note(Act(DAEMON, "sender.refused", certificate, f"revoked, at {address}"))
        except sqlite3.OperationalError as error:  # a full disk: refused all the same
            log.error("The audit does not say that a sender was refused: %s", error)
