"""The DICOM door: C-ECHO and C-STORE (PS3.4 Annex A and B), before what else scanners ask for.

Success is answered only after the instance is encrypted, on the disk and in the journal. An
instance is in memory until then, never in a file in clear.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from edge.config import Dicom
from edge.imaging.header import Limits, UnreadableInstance, read_header
from edge.intake.bounds import MAX_PDU_BYTES, BoundedSocket, Bounds, InboundBudget, bounded
from edge.intake.commitment import CommitmentDesk
from edge.intake.events import Heard, SenderGone
from edge.intake.ports import Ports
from edge.intake.procedure import ProcedureDesk
from edge.intake.reporter import Reporter
from edge.intake.revoked import RevocationState
from edge.intake.taking import Came, NoPixels, StudyDamaged, Taker
from edge.intake.tls import Refusal, TurnedAway, is_peer, names_in, shown
from edge.keys.tls import TlsCertificate
from edge.store.commitments import Commitments
from edge.store.records import Kept
from edge.store.spool import OutOfSpace
from edge.store.studies import Store

log = logging.getLogger("scanside.intake")

# Uncompressed first: a sender that can choose sends what costs least to decode.
TRANSFER_SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    JPEGLossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    RLELossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
]

# PS3.4 Table B.2-1.
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH_SOP_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000
PROCESSING_FAILURE = 0x0110  # PS3.7 annex C
UNRECOGNIZED_OPERATION = 0x0211  # PS3.7 C.5.21


@dataclass(slots=True)
class IntakeCounts:
    """What came in since the start, for metrics and the log. Written under the door's lock."""

    stored: int = 0
    repeated: int = 0
    refused: int = 0
    turned_away: int = 0
    tls_refused: Counter[Refusal] = field(default_factory=Counter)  # of them, by why

    def __str__(self) -> str:
        return (
            f"{self.stored} instances stored, {self.repeated} repeated, {self.refused} refused, "
            f"{self.turned_away} senders turned away"
        )


class DicomDoor:
    """A C-STORE, C-ECHO, Storage Commitment and MPPS SCP in front of the store.

    Parameters
    ----------
    settings : Dicom
        ``[dicom]`` of the configuration.
    store : Store
        Where instances go.
    pseudonym : callable
        Makes a patient's keyed pseudonym from issuer and patient ID.
    tell : callable
        Is told of every stored instance and every ended association; called from the
        associations' threads, and must not block.
    on_revoked : callable
        Is told of each sender whose certificate was taken back: whose it is, and the address;
        called from the handshakes' threads.

    Raises
    ------
    DicomTlsError
        If certificate, key or authority cannot be used.
    """

    def __init__(
        self,
        settings: Dicom,
        store: Store,
        pseudonym: Callable[[str, str], str],
        tell: Callable[[Heard], None],
        on_revoked: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._settings = settings
        self._on_revoked = on_revoked
        self._taker = Taker(store, pseudonym, tell)
        self._tell = tell
        self._limits = Limits(max_bytes=settings.max_instance_mb * 1_000_000)
        self._lock = threading.Lock()  # guards _last_sender and counts
        self._last_sender = 0
        self._budget = InboundBudget(settings.inbound_mb * 1_000_000)
        self.counts = IntakeCounts()
        self._ae = AE(ae_title=settings.ae_title)
        self._ae.maximum_pdu_size = MAX_PDU_BYTES
        self._ae.maximum_associations = settings.max_associations
        self._ae.network_timeout = settings.network_timeout_s
        self._peers = settings.known_peers
        self._ae.require_calling_aet = [one.ae_title for one in self._peers]
        self._ae.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(context.abstract_syntax, TRANSFER_SYNTAXES)
        self._reporter = Reporter(settings, Commitments(store.journal))
        self._commitment = CommitmentDesk(store, self._reporter, self._limits, tell)
        self._services = [
            *self._commitment.offer(self._ae),
            *ProcedureDesk(store, tell).offer(self._ae),
        ]
        self._ports = Ports(self._ae, settings, self._on_refused)

    @property
    def port(self) -> int:
        """The port that is listened on without TLS; 0 where there is none."""
        return self._ports.plain

    @property
    def tls_port(self) -> int:
        """The port that is listened on with TLS; 0 where there is none."""
        return self._ports.tls

    @property
    def running(self) -> bool:
        """Whether what it owes requesters of storage commitments is being brought to them."""
        return self._reporter.running

    @property
    def senders(self) -> int:
        """How many are connected, those that still shake hands too."""
        return len(self._ae.active_associations) + self._ports.greeted

    @property
    def certificate(self) -> TlsCertificate | None:
        """What senders over TLS are shown; None without TLS."""
        return self._ports.certificate

    @property
    def revocation(self) -> RevocationState | None:
        """How the lists of certificates that were taken back stand; None where there are none."""
        return self._ports.revocation

    @property
    def budget(self) -> InboundBudget:
        """Memory for instances on their way to disk, whichever way they come."""
        return self._budget

    @property
    def inbound_bytes(self) -> int:
        """Memory held by instances on their way to disk."""
        return self._budget.held

    def open(self) -> None:
        """Start listening.

        Raises
        ------
        PortTaken
            If an address is taken or not ours.
        """
        bounds = Bounds(
            max_instance=self._settings.max_instance_mb * 1_000_000,
            network_timeout=self._settings.network_timeout_s,
            budget=self._budget,
        )
        handlers = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_ECHO, self._on_echo),
            (evt.EVT_CONN_OPEN, self._on_open),
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_ACCEPTED, self._on_accepted),
            (evt.EVT_REJECTED, self._on_turned_away),
            (evt.EVT_RELEASED, self._on_end, [True]),
            (evt.EVT_ABORTED, self._on_end, [False]),
            (evt.EVT_CONN_CLOSE, self._on_end, [False]),
            # What these services do not have; unanswered, it would hold the association up.
            (evt.EVT_N_GET, self._on_unknown),
            (evt.EVT_N_EVENT_REPORT, self._on_unknown),
            *self._services,
        ]
        self._ports.open(handlers, bounded(bounds))
        self._reporter.start(self._commitment.report)

    def close(self) -> None:
        """Stop listening and abort what is still being sent: the senders will send it again."""
        self._ports.close()
        self._reporter.stop()

    def _on_open(self, event: evt.Event) -> None:
        with self._lock:
            self._last_sender += 1
            event.assoc.dul.socket.sender = self._last_sender

    def _on_requested(self, event: evt.Event) -> None:
        """Reject a sender whose certificate has another name, or that calls from elsewhere."""
        line = event.assoc.dul.socket.socket
        if isinstance(line, ssl.SSLSocket):
            names = names_in(line.getpeercert() or {})
            if not is_peer(names, self._settings.tls_peers):
                _reject(event)
                self._on_refused(
                    TurnedAway(Refusal.NOT_A_PEER, certificate=f"certificate of {shown(names)}")
                )
                return
        title = event.assoc.requestor.primitive.calling_ae_title.strip()
        own = [one for one in self._peers if one.ae_title.strip() == title]
        address = event.assoc.requestor.address
        if own and not any(one.is_at(address) for one in own):
            _reject(event)
            with self._lock:
                self.counts.turned_away += 1
            log.warning(
                "Turned a sender away (%s): [dicom] peers does not have it there", _who(event)
            )

    def _on_refused(self, sender: TurnedAway) -> None:
        level = logging.INFO if sender.why is Refusal.BROKE_OFF else logging.WARNING
        log.log(level, "Turned a sender away (%s): it %s", sender, sender.why.text)
        if sender.why is Refusal.REVOKED:
            self._on_revoked(sender.certificate, sender.address)
        with self._lock:  # last: who sees the count finds the line that says why
            self.counts.turned_away += 1
            self.counts.tls_refused[sender.why] += 1

    def _on_accepted(self, event: evt.Event) -> None:
        event.assoc.dul.socket.settle()

    def _on_turned_away(self, event: evt.Event) -> None:
        with self._lock:
            self.counts.turned_away += 1
        log.warning(
            "Turned a sender away (%s): not among [dicom] peers, or too many at once", _who(event)
        )

    def _on_end(self, event: evt.Event, orderly: bool) -> None:
        connection: BoundedSocket = event.assoc.dul.socket
        if not connection.end():
            return
        if event.assoc.requestor.primitive is None:
            # It never said who it was: pynetdicom would keep its place for half a minute more.
            event.assoc.dul.to_user_queue.put(None)
        if connection.spoke_tls:
            self._on_refused(TurnedAway(Refusal.TLS_ON_PLAIN_PORT, event.assoc.requestor.address))
        elif connection.cut_for:
            log.warning("Cut a sender off (%s): %s", _who(event), connection.cut_for)
        self._reporter.sender_gone(connection.sender)
        self._tell(SenderGone(connection.sender, orderly))

    def _on_echo(self, event: evt.Event) -> int:
        event.assoc.dul.socket.settle()
        return SUCCESS

    def _on_unknown(self, event: evt.Event) -> tuple[int, None]:
        event.assoc.dul.socket.settle()
        return UNRECOGNIZED_OPERATION, None

    def _on_store(self, event: evt.Event) -> Dataset | int:
        connection: BoundedSocket = event.assoc.dul.socket
        try:
            return self._store_one(event, connection)
        finally:
            connection.settle()

    def _store_one(self, event: evt.Event, connection: BoundedSocket) -> Dataset | int:
        data: bytes = event.encoded_dataset()
        try:
            header, identity = read_header(data, limits=self._limits)
        except UnreadableInstance as error:
            return self._refuse(event, CANNOT_UNDERSTAND, str(error))
        asked = event.request
        if header.sop_class_uid != asked.AffectedSOPClassUID:
            what = "The data set is of another SOP class"
            return self._refuse(event, DOES_NOT_MATCH_SOP_CLASS, what)
        if header.instance_uid != asked.AffectedSOPInstanceUID:
            what = "The data set is another instance"
            return self._refuse(event, DOES_NOT_MATCH_SOP_CLASS, what)
        sender = connection.sender
        came = Came(sender, connection.first_byte, connection.last_byte)
        try:
            kept = self._taker.take(data, header, identity, came)
        except NoPixels as error:
            return self._refuse(event, DOES_NOT_MATCH_SOP_CLASS, str(error))
        except StudyDamaged as error:
            return self._refuse(event, PROCESSING_FAILURE, str(error))
        except OutOfSpace as error:
            return self._refuse(event, OUT_OF_RESOURCES, str(error))
        with self._lock:
            if kept is Kept.REPEATED:
                self.counts.repeated += 1
            else:
                self.counts.stored += 1
        if connection.ended:  # while its instance was being stored: it is told of once more
            self._tell(SenderGone(sender, orderly=False))
        return SUCCESS

    def _refuse(self, event: evt.Event, status: int, what: str) -> Dataset:
        """Answer a failure with an Error Comment (0000,0902) that holds no patient data."""
        with self._lock:
            self.counts.refused += 1
        log.warning("Refused an instance with 0x%04X (%s): %s", status, _who(event), what)
        answer = Dataset()
        answer.Status = status
        answer.ErrorComment = what[:64]
        return answer


def _who(event: evt.Event) -> str:
    """Return who sends, for the log: the AE title, once it was said, and the address."""
    sender = event.assoc.requestor
    if sender.primitive is None:
        return f"at {sender.address}"
    return f"AE title {sender.primitive.calling_ae_title.strip()[:16]!r} at {sender.address}"


def _reject(event: evt.Event) -> None:
    # "Calling AE title not recognized" comes nearest for each (PS3.8 table 9-21).
    event.assoc.acse.send_reject(0x01, 0x01, 0x03)
    event.assoc.kill()  # returns when the answer has left
