"""Ask a receiver, as a scanner does, which instances are safe there (Storage Commitment).

The appliance answers after it has read each of them back from its disk and opened it. Source:
DICOM PS3.4 annex J.
"""

from __future__ import annotations

import queue
from collections.abc import Iterable
from typing import Any

from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from tools.scanner import Peer, RefusedError

_PATIENCE_S = 300.0
_REQUEST = 1  # the one action there is: request storage commitment


def safe_instances(peer: Peer, instances: Iterable[Dataset], calling: str) -> frozenset[str]:
    """Return which of the instances the peer answers for, by SOP instance UID.

    Raises
    ------
    RefusedError
        When it does not take the request, or does not answer.
    """
    reports: queue.SimpleQueue[Dataset] = queue.SimpleQueue()

    def on_report(event: Any) -> tuple[int, None]:
        reports.put(event.event_information)
        return 0x0000, None

    ae = AE(calling)
    ae.add_requested_context(StorageCommitmentPushModel)
    association = ae.associate(
        peer.host,
        peer.port,
        ae_title=peer.ae_title,
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_report)],
    )
    if not association.is_established:
        raise RefusedError(f"{peer} takes no association for storage commitment.")
    try:
        answer, _ = association.send_n_action(
            commitment_request(instances),
            _REQUEST,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        if answer.get("Status") != 0x0000:
            raise RefusedError(f"{peer} refused the request for storage commitment.")
        try:
            report = reports.get(timeout=_PATIENCE_S)
        except queue.Empty:
            raise RefusedError(f"{peer} did not report on storage commitment.") from None
    finally:
        association.release()
    return frozenset(
        str(one.ReferencedSOPInstanceUID) for one in report.get("ReferencedSOPSequence", [])
    )


def commitment_request(instances: Iterable[Dataset]) -> Dataset:
    """Return what a request for storage commitment of the instances says (PS3.4 table J.3-1)."""
    request = Dataset()
    request.TransactionUID = generate_uid()
    request.ReferencedSOPSequence = []
    for one in instances:
        item = Dataset()
        item.ReferencedSOPClassUID = one.SOPClassUID
        item.ReferencedSOPInstanceUID = one.SOPInstanceUID
        request.ReferencedSOPSequence.append(item)
    return request
