"""The PACS: an association to it, and what its answers to a C-STORE mean for an object.

Sources: DICOM PS3.4 annex B and table B.2-1 (C-STORE), PS3.7 annex C (statuses), PS3.8 9.3.4
(rejections), PS3.15 B.12 (TLS). What the PACS says in its own words (Error Comment (0000,0902)) is
not read: it can name the patient.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, Association, build_context, evt
from pynetdicom.sop_class import Verification

from edge.config import Results
from edge.trust import trusting

_CONNECT_TIMEOUT_S = 10.0
_SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_KINDS = {
    ComprehensiveSRStorage: "Comprehensive SR",
    KeyObjectSelectionDocumentStorage: "Key Object Selection",
}
_PICTURES = {SecondaryCaptureImageStorage: "Secondary Capture"}
_REJECTIONS = {
    (1, 3): "does not know our AE title {calling}: enter it there",
    (1, 7): "has another AE title than {called}",
    (3, 1): "is busy",
    (3, 2): "has too many associations",
}


class PacsAway(Exception):
    """Nothing can be sent now; the text says why, without patient data."""


class Fate(Enum):
    """What a C-STORE's answer means for an object."""

    STORED = "stored"
    LATER = "later"  # the PACS could not now
    NEVER = "never"  # the PACS will not, however often it is asked


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one object, with a text without patient data."""

    fate: Fate
    text: str


@dataclass(frozen=True, slots=True)
class Pacs:
    """Where to send.

    Parameters
    ----------
    settings : Results
        ``[results]``, with a host.
    calling : str
        Our AE title.
    """

    settings: Results
    calling: str

    def __str__(self) -> str:
        return f"{self.settings.ae_title}@{self.settings.host}:{self.settings.port}"

    @contextmanager
    def association(self) -> Iterator[Line]:
        """Open an association, and release it at the end.

        Raises
        ------
        PacsAway
            If there is none, or it cannot be used.
        """
        host = self.settings.host or ""
        tls = self._tls()
        connections: list[socket.socket] = []

        def opened(event: evt.Event) -> None:
            connections.append(event.assoc.dul.socket.socket)

        ae = AE(ae_title=self.calling)
        ae.connection_timeout = min(self.settings.timeout_s, _CONNECT_TIMEOUT_S)
        ae.acse_timeout = ae.dimse_timeout = self.settings.timeout_s
        ae.network_timeout = 2 * self.settings.timeout_s
        try:
            association = ae.associate(
                host,
                self.settings.port,
                contexts=[build_context(kind, _SYNTAXES) for kind in (*self._kinds, Verification)],
                ae_title=self.settings.ae_title,
                tls_args=None if tls is None else (tls, self.settings.tls_name or host),
                evt_handlers=[(evt.EVT_CONN_OPEN, opened)],
            )
        except OSError as error:  # a name that nobody knows
            raise PacsAway(f"{self} cannot be reached: {error.strerror or error}") from error
        try:
            if not association.is_established:
                raise PacsAway(self._why_not(association))
            yield Line(association, connections, self._kinds)
        finally:
            if association.is_established:
                association.release()
            for tcp in connections:  # pynetdicom leaves it open where the PACS hung up first
                tcp.close()

    def echo(self) -> None:
        """Ask whether the PACS is there and knows us (C-ECHO); raises `PacsAway` if not."""
        with self.association() as line:
            missing = line.not_taken
            if missing:
                raise PacsAway(f"{self} answers, but takes no {' and no '.join(missing)}")
            line.echo(str(self))

    @property
    def _kinds(self) -> Mapping[UID, str]:
        """What is offered, and how each is called."""
        return {**_KINDS, **_PICTURES} if self.settings.heatmaps else _KINDS

    def _tls(self) -> ssl.SSLContext | None:
        settings = self.settings
        if not settings.tls:
            return None
        try:
            context = trusting(settings.ca)
            if settings.cert is not None:
                context.load_cert_chain(settings.cert, settings.key)
        except OSError as error:  # an ssl.SSLError is one, too
            reason = getattr(error, "reason", None) or error.strerror or error
            raise PacsAway(f"[results] ca, cert or key cannot be used: {reason}") from error
        return context

    def _why_not(self, association: Association) -> str:
        """Say why there is no association: the network library only says that there is none."""
        if association.is_rejected:
            answer = association.acceptor.primitive
            words = _REJECTIONS.get((answer.result_source, answer.diagnostic), "rejects us")
            return f"{self} {words.format(calling=self.calling, called=self.settings.ae_title)}"
        if association.rejected_contexts:
            return f"{self} takes neither {' nor '.join(self._kinds.values())}"
        return f"{self} cannot be reached: {self._obstacle()}"

    def _obstacle(self) -> str:
        """Find out what is in the way, by connecting once more."""
        host, tls = self.settings.host or "", self._tls()
        timeout_s = min(self.settings.timeout_s, _CONNECT_TIMEOUT_S)
        try:
            with socket.create_connection((host, self.settings.port), timeout=timeout_s) as tcp:
                if tls is not None:
                    name = self.settings.tls_name or host
                    tls.wrap_socket(tcp, server_hostname=name).close()
        except ssl.SSLCertVerificationError as error:
            return f"its certificate is not accepted: {error.verify_message}"
        except ssl.SSLError as error:
            return f"no TLS with it: {(error.reason or 'it broke off').replace('_', ' ').lower()}"
        except TimeoutError:
            return "it does not answer"
        except OSError as error:
            return (error.strerror or "the network fails").lower()
        return "it broke off; is the port right, and is TLS as it wants it?"


class Line:
    """An open association."""

    def __init__(
        self,
        association: Association,
        connections: Sequence[socket.socket],
        kinds: Mapping[UID, str],
    ) -> None:
        self._association = association
        self._kinds = kinds
        self._connections = connections

    @property
    def is_open(self) -> bool:
        """Whether more can be sent."""
        return bool(self._association.is_established)

    def cut(self) -> None:
        """End it at once, from any thread; whoever waits for an answer learns that none comes."""
        for tcp in self._connections:
            with suppress(OSError):  # it was closed already
                tcp.shutdown(socket.SHUT_RDWR)

    @property
    def not_taken(self) -> list[str]:
        """The kinds of objects that the PACS does not take."""
        taken = {context.abstract_syntax for context in self._association.accepted_contexts}
        return [name for kind, name in self._kinds.items() if kind not in taken]

    def store(self, document: Dataset) -> Answer:
        """Send one object."""
        taken = {context.abstract_syntax for context in self._association.accepted_contexts}
        if document.SOPClassUID not in taken:
            name = {**_KINDS, **_PICTURES}.get(document.SOPClassUID, "such object")
            return Answer(Fate.NEVER, f"the PACS takes no {name}")
        try:
            answer = self._association.send_c_store(document)
        except RuntimeError:  # the association ended between two objects
            return Answer(Fate.LATER, _BROKE_OFF)
        except ValueError:  # no transfer syntax in common, or a value that none can hold
            return Answer(Fate.NEVER, "it cannot be encoded for this PACS")
        if "Status" not in answer:
            return Answer(Fate.LATER, _BROKE_OFF)
        return meaning_of(int(answer.Status))

    def echo(self, name: str) -> None:
        """Send a C-ECHO; raises `PacsAway` without a good answer."""
        answer = self._association.send_c_echo()
        if "Status" not in answer or answer.Status != 0:
            raise PacsAway(f"{name} lets us in, but does not answer a C-ECHO")


_BROKE_OFF = "the PACS gave no answer"
_DUPLICATE = 0x0111
_MEANINGS = {
    0x0110: Answer(Fate.LATER, "0x0110: processing failure"),
    _DUPLICATE: Answer(Fate.STORED, "the PACS had it already"),
    0x0122: Answer(Fate.NEVER, "0x0122: SOP class not supported"),
    0x0124: Answer(Fate.NEVER, "0x0124: not authorised"),
}


def meaning_of(status: int) -> Answer:
    """Return what a C-STORE status means (PS3.4 table B.2-1, PS3.7 annex C)."""
    if status in _MEANINGS:
        return _MEANINGS[status]
    if status == 0 or status >> 12 == 0xB:
        return Answer(Fate.STORED, "" if status == 0 else f"0x{status:04X}: stored, with a warning")
    if status >> 8 == 0xA7:
        return Answer(Fate.LATER, f"0x{status:04X}: the PACS is out of resources")
    if status >> 8 == 0xA9:
        return Answer(Fate.NEVER, f"0x{status:04X}: the object does not match its SOP class")
    if status >> 12 == 0xC:
        return Answer(Fate.NEVER, f"0x{status:04X}: the PACS cannot understand the object")
    return Answer(Fate.LATER, f"0x{status:04X}: failed")
