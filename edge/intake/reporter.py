"""Tells requesters of storage commitments that have left, on an association of our own.

What waits is in the journal, so a restart loses nothing. A requester that is not reached is tried
again, ever more slowly, for a day.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

from pynetdicom import AE, build_context, build_role
from pynetdicom.sop_class import StorageCommitmentPushModel

from edge.config import Dicom
from edge.config.peers import Address
from edge.intake.own_requests import EventReport
from edge.intake.tls import Credentials, DicomTlsError
from edge.store.commitments import Commitment, Commitments, Waiting

log = logging.getLogger("scanside.intake")

_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 600.0
_GIVE_UP_AFTER_S = 86_400.0
_ROUND_S = 60.0
_CONNECT_S = 5.0
_ANSWER_S = 30.0
_NOT_NOTED = "The journal cannot be written; a storage commitment is reported once more"


class Reporter:
    """A thread that brings answers to requesters.

    Parameters
    ----------
    settings : Dicom
        ``[dicom]`` of the configuration.
    commitments : Commitments
        The journal's side.

    Raises
    ------
    DicomTlsError
        If a requester is reached over TLS and certificate, key or authority cannot be used.
    """

    def __init__(self, settings: Dicom, commitments: Commitments) -> None:
        self._ae_title = settings.ae_title
        self._commitments = commitments
        self._addresses = {one.ae_title: (one, False) for one in settings.report_addresses}
        self._addresses |= {one.ae_title: (one, True) for one in settings.report_tls_addresses}
        self._credentials = Credentials(settings) if settings.report_to_tls else None
        self._make: Callable[[Commitment], EventReport] | None = None
        self._changed = threading.Condition()  # guards all below
        self._held: dict[int, int] = {}  # commitments that a sender's own association answers
        self._news = False  # whether to look again at once
        self._association: Any = None  # to a requester, while there is one
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self, make: Callable[[Commitment], EventReport]) -> None:
        """Begin with what waits; `make` makes an answer."""
        self._make = make
        self._thread = threading.Thread(target=self._run, name="commitments")
        self._thread.start()

    def stop(self) -> None:
        """End the thread, whatever a requester does; what waits is taken up at the next start."""
        with self._changed:
            self._stopping = True
            if self._association is not None:
                self._association.dul.socket.close()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    @property
    def running(self) -> bool:
        """Whether the thread lives."""
        return self._thread is not None and self._thread.is_alive()

    def reaches(self, requester: str) -> bool:
        """Return whether the configuration says where a requester is."""
        return requester in self._addresses

    def hold(self, commitment: int, sender: int) -> None:
        """Leave a commitment to the association that asked, while it is open."""
        with self._changed:
            self._held[commitment] = sender

    def release(self, commitment: int) -> None:
        """Take over what an association that is still open cannot answer."""
        with self._changed:
            self._held.pop(commitment, None)
            self._news = True
            self._changed.notify_all()

    def sender_gone(self, sender: int) -> None:
        """Take over what an association has left unanswered."""
        with self._changed:
            left = [one for one, holder in self._held.items() if holder == sender]
            for commitment in left:
                del self._held[commitment]
            self._news |= bool(left)
            self._changed.notify_all()

    def answered(self, commitment: Commitment, status: int) -> None:
        """Note what a requester answered to its report."""
        try:
            self._note(commitment, status)
        except sqlite3.OperationalError as error:  # a full disk; it is reported once more
            log.error("%s: %s", _NOT_NOTED, error)
        with self._changed:
            self._held.pop(commitment.id, None)

    def _note(self, commitment: Waiting, status: int) -> None:
        if status == 0x0000:
            self._commitments.reported(commitment.id, time.time())
            return
        log.warning(
            "%r answered a storage commitment report with 0x%04X", commitment.requester, status
        )
        self._later(commitment)

    def _later(self, commitment: Waiting) -> None:
        now = time.time()
        if now - commitment.asked > _GIVE_UP_AFTER_S:
            self._commitments.given_up(commitment.id, now)
            log.warning("Gave a storage commitment report to %r up", commitment.requester)
            return
        wait = min(_FIRST_WAIT_S * 2.0**commitment.tries, _LONGEST_WAIT_S)
        self._commitments.tried(commitment.id, now + wait)

    def _run(self) -> None:
        while not self._stopping:
            try:
                wait = self._round()
            except sqlite3.OperationalError as error:
                log.error("%s: %s", _NOT_NOTED, error)
                wait = _ROUND_S
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._news, wait)
                self._news = False

    def _round(self) -> float:
        """Try all that is due; return after how many seconds to look again."""
        missed: set[str] = set()
        for commitment in self._commitments.waiting():
            if self._stopping:
                return 0.0
            if commitment.due > time.time() or self._is_held(commitment):
                continue
            # Whoever was not reached just now holds nobody else up with more of its requests.
            if commitment.requester in missed or not self._try(commitment):
                missed.add(commitment.requester)
                self._later(commitment)
        dues = [one.due for one in self._commitments.waiting() if not self._is_held(one)]
        return min(max(min(dues, default=math.inf) - time.time(), 0.0), _ROUND_S)

    def _is_held(self, commitment: Waiting) -> bool:
        with self._changed:
            return commitment.id in self._held

    def _try(self, waiting: Waiting) -> bool:
        """Report to a requester; return whether it was reached, or needs nothing any more."""
        found = self._addresses.get(waiting.requester)
        if found is None:
            if not waiting.tries:
                log.warning(
                    "%r left before its storage commitment report; [dicom] report_to does not"
                    " say where it is",
                    waiting.requester,
                )
            return False
        commitment = self._commitments.read(waiting.id)
        if commitment is None:
            return True
        try:
            status = self._report(commitment, *found)
        except DicomTlsError as error:
            log.warning("%s", error)
            status = None
        if status is None:
            if not self._stopping:
                log.warning("%s was not reached for its storage commitment report", found[0])
            return False
        self._note(commitment, status)
        return True

    def _report(self, commitment: Commitment, address: Address, tls: bool) -> int | None:
        """Bring an answer to its requester; return the status it gives, None if none."""
        if self._make is None:
            return None
        # Before the call: reading images back takes long, and a requester may not wait for it.
        report = self._make(commitment)
        ae = AE(ae_title=self._ae_title)
        ae.connection_timeout = ae.acse_timeout = _CONNECT_S
        ae.dimse_timeout = _ANSWER_S
        context = None
        if tls and self._credentials is not None:
            context = (self._credentials.client_context(), address.host)
        try:
            association = ae.associate(
                address.host,
                address.port,
                contexts=[build_context(StorageCommitmentPushModel)],
                ae_title=address.ae_title,
                # We are the SCP although we call (PS3.4 J.3.3).
                ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
                tls_args=context,
            )
        except (OSError, RuntimeError) as error:  # an unknown host; no thread for an association
            _broke_off(error)
            return None
        if not association.is_established:
            return None
        if tls and self._is_revoked(association):
            association.abort()
            return None
        with self._changed:
            self._association = association
            if self._stopping:
                association.dul.socket.close()
        try:
            return _send(association, report)
        except (RuntimeError, ValueError) as error:  # it has left, or does not take such reports
            _broke_off(error)
            return None
        finally:
            with self._changed:
                self._association = None
            if association.is_established:
                association.release()

    def _is_revoked(self, association: Any) -> bool:
        revoked = None if self._credentials is None else self._credentials.revoked
        if revoked is None:
            return False
        shown = association.dul.socket.socket.getpeercert(binary_form=True)
        subject = revoked.subject_of(shown or b"")
        if subject is not None:
            log.warning("No storage commitment report to a scanner: its %s was taken back", subject)
        return subject is not None


def _broke_off(error: Exception) -> None:
    """Say of what kind an error was; its text may name what was to be sent."""
    log.warning("A storage commitment report broke off: %s", type(error).__name__)


def _send(association: Any, report: EventReport) -> int | None:
    read = association.dimse.get_msg
    # pynetdicom's own thread would take the answer now and then, and drop it as unexpected.
    association.dimse.get_msg = lambda block=False: read(block) if block else (None, None)
    answer, _ = association.send_n_event_report(
        report.information, report.event_type, report.class_uid, report.instance_uid
    )
    return int(answer.Status) if "Status" in answer else None
