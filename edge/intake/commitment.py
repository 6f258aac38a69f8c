"""Storage Commitment, push model, as its SCP (PS3.4 annex J).

A request is acknowledged when it is in the journal. The answer names an instance as safe only if
its bytes were read back from the disk and opened with their key; every other one has a reason.
It goes out on the association of the request while that is open, else by `Reporter`.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from edge.imaging.bounds import Limits, Reason, UnreadableInstance
from edge.imaging.part10 import open_part10
from edge.intake.events import CommitmentAsked
from edge.intake.own_requests import EventReport, OwnRequests
from edge.intake.references import read_commitment_request
from edge.intake.reporter import Reporter
from edge.store.commitments import Commitment, Commitments, Reference, TooMany
from edge.store.spool import Record, read_record
from edge.store.studies import Store
from edge.store.study_key import SealBroken, StudyKey

log = logging.getLogger("scanside.intake")

WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"  # PS3.4 J.3.5
ALL_SAFE, SOME_FAILED = 1, 2  # event types, PS3.4 table J.3-2

# Statuses of N-ACTION (PS3.7 annex C) and, of some, reasons of a failure (PS3.3 C.14.1.1).
SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
INVALID_ARGUMENT = 0x0115
CLASS_INSTANCE_CONFLICT = 0x0119
NO_SUCH_ACTION = 0x0123
RESOURCE_LIMITATION = 0x0213

_REQUEST = 1  # the only action type
_SOP_CLASS = 0x00080016
# A scanner that only asks and leaves has left by then; one that stays is told here.
_GRACE_S = 0.3
_HEAD_START_S = 1.0  # of the request's own association before any other


class CommitmentDesk:
    """Takes requests for storage commitment, and answers them.

    Parameters
    ----------
    store : Store
        Where the instances are.
    reporter : Reporter
        Reaches requesters that have left.
    limits : Limits
        Of an instance.
    tell : callable
        Is told which series a request named whole; must not block.
    """

    def __init__(
        self,
        store: Store,
        reporter: Reporter,
        limits: Limits,
        tell: Callable[[CommitmentAsked], None],
    ) -> None:
        self._store = store
        self._commitments = Commitments(store.journal)
        self._reporter = reporter
        self._limits = limits
        self._tell = tell

    def offer(self, ae: AE) -> list[Any]:
        """Offer the service; return what handles its events."""
        ae.add_supported_context(
            StorageCommitmentPushModel, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
        )
        return [(evt.EVT_N_ACTION, self._on_action)]

    def _on_action(self, event: evt.Event) -> tuple[int, None]:
        try:
            return self._take(event), None
        finally:
            event.assoc.dul.socket.settle()

    def _take(self, event: evt.Event) -> int:
        request = event.request
        requester = str(event.assoc.requestor.ae_title).strip()
        if request.RequestedSOPInstanceUID != WELL_KNOWN_INSTANCE:
            return _refused(NO_SUCH_INSTANCE, requester, "not the well-known instance")
        if request.ActionTypeID != _REQUEST:
            return _refused(NO_SUCH_ACTION, requester, "no such action type")
        information = request.ActionInformation
        data = b"" if information is None else information.getvalue()
        if not self._store.room_for(len(data)):
            return _refused(RESOURCE_LIMITATION, requester, "less free disk than the reserve")
        try:
            transaction, references = read_commitment_request(data, event.context.transfer_syntax)
        except UnreadableInstance as error:
            too_large = error.reason is Reason.TOO_LARGE
            status = RESOURCE_LIMITATION if too_large else INVALID_ARGUMENT
            return _refused(status, requester, str(error))
        try:
            now = time.time()
            commitment, covered = self._commitments.keep(
                requester, transaction, references, now, due=now + _HEAD_START_S
            )
        except TooMany as error:
            return _refused(RESOURCE_LIMITATION, requester, str(error))
        except sqlite3.OperationalError as error:
            return _refused(
                RESOURCE_LIMITATION, requester, f"the journal cannot be written: {error}"
            )
        if covered:
            self._tell(CommitmentAsked(covered))
        self._answer_here(event.assoc, commitment)
        return SUCCESS

    def _answer_here(self, association: Any, commitment: Commitment) -> None:
        """Have the answer go out on the association of the request, if it stays open."""
        connection = association.dul.socket
        if connection.own_requests is None:
            connection.own_requests = OwnRequests(association, connection.settle)
        self._reporter.hold(commitment.id, connection.sender)
        connection.own_requests.post(
            partial(self._report_here, commitment),
            partial(self._reporter.answered, commitment),
            after_s=_GRACE_S if self._reporter.reaches(commitment.requester) else 0.0,
        )
        if connection.ended:  # while its request was being kept: nobody says so again
            self._reporter.sender_gone(connection.sender)

    def _report_here(self, commitment: Commitment) -> EventReport | None:
        """Return the answer for the request's own association, None if it cannot be made now."""
        try:
            return self.report(commitment)
        except sqlite3.OperationalError as error:
            log.error("The journal cannot be read; a report follows later: %s", error)
            self._reporter.release(commitment.id)
            return None

    def report(self, commitment: Commitment) -> EventReport:
        """Return the answer to a request, as things stand now."""
        return event_report(commitment, map(self._judge, commitment.references))

    def _judge(self, reference: Reference) -> int:
        """Return why an instance is not safe here, 0 if it is."""
        try:
            copies = self._store.copies(reference.instance_uid)
        except SealBroken as error:
            log.error("A stored instance cannot be opened: %s", error)
            return PROCESSING_FAILURE
        reasons = [self._judge_copy(*copy, reference.sop_class_uid) for copy in copies]
        return min(reasons, default=NO_SUCH_INSTANCE)

    def _judge_copy(self, record: Record, key: StudyKey, sop_class_uid: str) -> int:
        try:
            data = read_record(record, key)
            part10 = open_part10(data, limits=self._limits, wanted=frozenset({_SOP_CLASS}))
        except (OSError, SealBroken, UnreadableInstance) as error:
            log.error("A stored instance cannot be read back: %s", error)
            return PROCESSING_FAILURE
        span = part10.spans.get(_SOP_CLASS)
        kept = b"" if span is None else part10.walk.data[span.start : span.stop]
        same = kept.rstrip(b"\0 ") == sop_class_uid.encode()
        return SUCCESS if same else CLASS_INSTANCE_CONFLICT


def event_report(commitment: Commitment, reasons: Iterable[int]) -> EventReport:
    """Return the answer to a request.

    Parameters
    ----------
    commitment : Commitment
    reasons : iterable of int
        One for each instance it names: 0 if that is safe, else why it is not (PS3.3 C.14.1.1).
    """
    judged = list(zip(commitment.references, reasons, strict=True))
    failed = [_item(reference, reason) for reference, reason in judged if reason]
    answer = Dataset()
    answer.TransactionUID = commitment.transaction_uid
    safe = [_item(reference) for reference, reason in judged if not reason]
    if safe:
        answer.ReferencedSOPSequence = safe
    if failed:
        answer.FailedSOPSequence = failed
    log.info(
        "Storage commitment for %r: %d of %d instances are safe",
        commitment.requester,
        len(safe),
        len(judged),
    )
    event_type = SOME_FAILED if failed else ALL_SAFE
    return EventReport(event_type, StorageCommitmentPushModel, WELL_KNOWN_INSTANCE, answer)


def _item(reference: Reference, reason: int = 0) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.instance_uid
    if reason:
        item.FailureReason = reason
    return item


def _refused(status: int, requester: str, what: str) -> int:
    log.warning(
        "Refused a storage commitment request of %r with 0x%04X: %s", requester[:16], status, what
    )
    return status
