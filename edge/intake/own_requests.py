"""A request of our own on a sender's association, between the sender's.

pynetdicom's way is to send from another thread while the association's own is held; what the
sender then says first is taken for the answer. Here everything happens in the association's
thread: a request leaves when that thread next looks for a message, and its answer is picked out
of what comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode


@dataclass(frozen=True, slots=True)
class EventReport:
    """An N-EVENT-REPORT (PS3.7 10.1.1)."""

    event_type: int
    class_uid: str
    instance_uid: str
    information: Dataset


@dataclass(frozen=True, slots=True)
class _Posted:
    make: Callable[[], EventReport | None]
    on_answer: Callable[[int], None]
    due: float


class OwnRequests:
    """What we ask on one association. Used in its thread alone.

    Parameters
    ----------
    association : pynetdicom.association.Association
        Accepted from a sender.
    settle : callable
        Called for each answer, which is taken in then as an instance is when it is stored.
    """

    def __init__(self, association: Any, settle: Callable[[], None]) -> None:
        self._association = association
        self._settle = settle
        self._read = association.dimse.get_msg
        association.dimse.get_msg = self._next
        self._posted: list[_Posted] = []
        self._asked: dict[int, Callable[[int], None]] = {}
        self._last = 0

    def post(
        self,
        make: Callable[[], EventReport | None],
        on_answer: Callable[[int], None],
        *,
        after_s: float,
    ) -> None:
        """Send a report once `after_s` have passed, if the sender is still there.

        Parameters
        ----------
        make : callable
            Makes it, when it is sent. None sends nothing. It must not raise: what it raises would
            end the association's thread.
        on_answer : callable
            Is given the status of the answer.
        after_s : float
        """
        self._posted.append(_Posted(make, on_answer, time.monotonic() + after_s))

    def _next(self, block: bool = False) -> tuple[int | None, Any]:
        for posted in [one for one in self._posted if one.due <= time.monotonic()]:
            self._posted.remove(posted)
            self._send(posted)
        context_id, message = self._read(block)
        if isinstance(message, N_EVENT_REPORT) and message.MessageIDBeingRespondedTo is not None:
            self._settle()
            on_answer = self._asked.pop(message.MessageIDBeingRespondedTo, None)
            if on_answer is not None and message.Status is not None:
                on_answer(message.Status)
            return None, None
        return context_id, message

    def _send(self, posted: _Posted) -> None:
        report = posted.make()
        if report is None:
            return
        context = next(
            one
            for one in self._association.accepted_contexts
            if one.abstract_syntax == report.class_uid
        )
        syntax: UID = context.transfer_syntax[0]
        request = N_EVENT_REPORT()
        self._last += 1
        request.MessageID = self._last
        request.AffectedSOPClassUID = UID(report.class_uid)
        request.AffectedSOPInstanceUID = UID(report.instance_uid)
        request.EventTypeID = report.event_type
        request.EventInformation = BytesIO(
            encode(report.information, syntax.is_implicit_VR, syntax.is_little_endian) or b""
        )
        self._asked[self._last] = posted.on_answer
        self._association.dimse.send_msg(request, context.context_id)
