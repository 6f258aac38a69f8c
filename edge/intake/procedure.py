"""Modality Performed Procedure Step, as its SCP (PS3.4 annex F.7).

A scanner says that it begins (N-CREATE), and later that it completed or discontinued, with the
images that came of it (N-SET). What it says is in the journal before it is answered; the patient
that it names is not read.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityPerformedProcedureStep

from edge.imaging.attributes import Attributes
from edge.imaging.bounds import Reason, UnreadableInstance
from edge.intake.events import StepEnded
from edge.intake.references import open_data_set, performed_series
from edge.store.steps import Change, Changed, Steps, StepState, TooManySteps
from edge.store.studies import Store

log = logging.getLogger("scanside.intake")

# PS3.7 annex C.
SUCCESS = 0x0000
INVALID_VALUE = 0x0106
PROCESSING_FAILURE = 0x0110
DUPLICATE_INSTANCE = 0x0111
NO_SUCH_INSTANCE = 0x0112
INVALID_INSTANCE = 0x0117
MISSING_ATTRIBUTE = 0x0120
RESOURCE_LIMITATION = 0x0213
NO_LONGER_UPDATED = 0xA710  # Error ID, PS3.4 table F.7.2-2

_STATUS, _REASONS, _SERIES = 0x00400252, 0x00400281, 0x00400340
_WANTED = frozenset({_STATUS, _REASONS, _SERIES})
_CODE, _SCHEME = 0x00080100, 0x00080102
# "Incorrect worklist entry selected", PS3.16 CID 9300.
_WRONG_ENTRY = ("110514", "DCM")


class ProcedureDesk:
    """Takes what scanners say of their procedure steps.

    Parameters
    ----------
    store : Store
        Whose journal keeps it.
    tell : callable
        Is told of each step that has ended; must not block.
    """

    def __init__(self, store: Store, tell: Callable[[StepEnded], None]) -> None:
        self._store = store
        self._steps = Steps(store.journal, store.fingerprint)
        self._tell = tell

    def offer(self, ae: AE) -> list[Any]:
        """Offer the service; return what handles its events."""
        ae.add_supported_context(
            ModalityPerformedProcedureStep, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
        )
        return [
            (evt.EVT_N_CREATE, self._answer, [self._begin]),
            (evt.EVT_N_SET, self._answer, [self._set]),
        ]

    def _answer(
        self, event: evt.Event, serve: Callable[[evt.Event, str], None]
    ) -> tuple[Dataset, None]:
        station = str(event.assoc.requestor.ae_title).strip()[:16]
        answer = Dataset()
        answer.Status = SUCCESS
        try:
            serve(event, station)
        except _Refused as refused:
            log.warning(
                "Refused a procedure step of %r with 0x%04X: %s",
                station,
                refused.status,
                refused.what,
            )
            answer.Status = refused.status
            answer.ErrorComment = refused.what[:64]
            if refused.error_id is not None:
                answer.ErrorID = refused.error_id
        finally:
            event.assoc.dul.socket.settle()
        return answer, None

    def _begin(self, event: evt.Event, station: str) -> None:
        uid = event.request.AffectedSOPInstanceUID
        if not uid:
            raise _Refused(INVALID_INSTANCE, "a step needs a SOP Instance UID")
        change = self._read(event.request.AttributeList, event)
        if change.state is None:
            raise _Refused(MISSING_ATTRIBUTE, "no Performed Procedure Step Status (0040,0252)")
        if change.state is not StepState.IN_PROGRESS:
            raise _Refused(INVALID_VALUE, "a step begins IN PROGRESS")
        with _journal_errors():
            try:
                new = self._steps.begin(str(uid), station, change.series or {}, time.time())
            except TooManySteps as error:
                raise _Refused(RESOURCE_LIMITATION, str(error)) from error
        if not new:
            raise _Refused(DUPLICATE_INSTANCE, "the step is known already")
        log.info("A procedure step of %r has begun", station)

    def _set(self, event: evt.Event, station: str) -> None:
        change = self._read(event.request.ModificationList, event)
        with _journal_errors():
            changed = self._steps.change(
                str(event.request.RequestedSOPInstanceUID), change, time.time()
            )
        if changed.before is None:
            raise _Refused(NO_SUCH_INSTANCE, "there is no such step")
        if changed.before is not StepState.IN_PROGRESS:
            raise _Refused(
                PROCESSING_FAILURE,
                "the step has ended and may no longer be updated",
                NO_LONGER_UPDATED,
            )
        if change.state in {StepState.COMPLETED, StepState.DISCONTINUED}:
            self._ended(change, changed, station)

    def _read(self, data: BytesIO | None, event: evt.Event) -> Change:
        """Read what a request says, if there is room to keep it; raises `_Refused`."""
        said = b"" if data is None else data.getvalue()
        if not self._store.room_for(len(said)):
            raise _Refused(RESOURCE_LIMITATION, "less free disk than the reserve")
        return _change(said, event.context.transfer_syntax)

    def _ended(self, change: Change, changed: Changed, station: str) -> None:
        if change.state is StepState.COMPLETED:
            log.info("A procedure step of %r is completed, %d series", station, len(changed.series))
        else:
            why = ": the wrong worklist entry was selected" if change.wrong_entry else ""
            log.warning("A procedure step of %r was discontinued%s", station, why)
        if changed.series:
            self._tell(StepEnded(changed.series, changed.reopened))


class _Refused(Exception):
    """A request that is answered with a failure; `what` holds no patient data."""

    def __init__(self, status: int, what: str, error_id: int | None = None) -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.error_id = error_id


@contextmanager
def _journal_errors() -> Iterator[None]:
    """Have a request answered that the journal cannot take."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise _Refused(RESOURCE_LIMITATION, "the journal cannot be written") from error


def _change(data: bytes, syntax: UID) -> Change:
    """Read what a request says of a step.

    Raises
    ------
    _Refused
        If it is not a whole data set, or over a bound.
    """
    try:
        attributes = open_data_set(data, syntax, _WANTED)
        series = performed_series(attributes, _SERIES) if _SERIES in attributes else None
        status = attributes.code(_STATUS)
        wrong_entry = _WRONG_ENTRY in _codes(attributes, _REASONS)
    except UnreadableInstance as error:
        too_large = error.reason is Reason.TOO_LARGE
        raise _Refused(RESOURCE_LIMITATION if too_large else INVALID_VALUE, str(error)) from error
    if not status:
        return Change(None, wrong_entry, series)
    try:
        return Change(StepState(status), wrong_entry, series)
    except ValueError as error:
        raise _Refused(
            INVALID_VALUE, "Performed Procedure Step Status (0040,0252) has no known value"
        ) from error


def _codes(attributes: Attributes, tag: int) -> set[tuple[str, str]]:
    items = attributes.items(tag, wanted=frozenset({_CODE, _SCHEME}))
    return {(item.code(_CODE), item.code(_SCHEME)) for item in items}
