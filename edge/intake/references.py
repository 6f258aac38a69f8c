"""What a scanner names in a request: transaction, instances, series. Bounded, and nothing decoded.

Sources: DICOM PS3.4 J.3.2 (storage commitment), PS3.3 C.4.14 (performed series).
"""

from __future__ import annotations

from pydicom.uid import UID

from edge.imaging.attributes import Attributes
from edge.imaging.bounds import Limits, Reason, UnreadableInstance
from edge.imaging.part10 import Walk
from edge.store.commitments import Reference

MAX_REFERENCES = 20_000
MAX_BYTES = 8_000_000
_LIMITS = Limits(max_bytes=MAX_BYTES, max_nesting=8)

_SERIES_UID, _IMAGES = 0x0020000E, 0x00081140
_REFERENCED_CLASS, _REFERENCED_INSTANCE = 0x00081150, 0x00081155
_TRANSACTION, _REFERENCED = 0x00081195, 0x00081199
_OF_A_REFERENCE = frozenset({_REFERENCED_CLASS, _REFERENCED_INSTANCE})


def open_data_set(data: bytes, syntax: UID, wanted: frozenset[int]) -> Attributes:
    """Open the data set of a DIMSE-N request.

    Raises
    ------
    UnreadableInstance
        If it is not a whole data set, or over a bound.
    """
    if len(data) > MAX_BYTES:
        raise UnreadableInstance(Reason.TOO_LARGE, f"the request is larger than {MAX_BYTES} bytes")
    walk = Walk(data, big=False, limits=_LIMITS)
    return Attributes(walk, walk.data_set(0, implicit=syntax.is_implicit_VR, wanted=wanted))


def references(attributes: Attributes, tag: int) -> tuple[Reference, ...]:
    """Return the instances that a sequence names, each once.

    Raises
    ------
    UnreadableInstance
        If one has no valid UIDs, or there are too many.
    """
    found: dict[str, Reference] = {}
    for item in attributes.items(tag, wanted=_OF_A_REFERENCE):
        instance = item.uid(_REFERENCED_INSTANCE, "Referenced SOP Instance UID")
        found[instance] = Reference(
            item.uid(_REFERENCED_CLASS, "Referenced SOP Class UID"), instance
        )
        if len(found) > MAX_REFERENCES:
            raise UnreadableInstance(
                Reason.TOO_LARGE, f"the request names more than {MAX_REFERENCES} instances"
            )
    return tuple(found.values())


def read_commitment_request(data: bytes, syntax: UID) -> tuple[str, tuple[Reference, ...]]:
    """Return the transaction of a Storage Commitment request, and the instances (PS3.4 J.3.2.1.1).

    Raises
    ------
    UnreadableInstance
        If the transaction or the instances are missing or malformed.
    """
    attributes = open_data_set(data, syntax, frozenset({_TRANSACTION, _REFERENCED}))
    transaction = attributes.uid(_TRANSACTION, "Transaction UID")
    named = references(attributes, _REFERENCED)
    if not named:
        raise UnreadableInstance(Reason.MISSING, "the request names no instance")
    return transaction, named


def performed_series(attributes: Attributes, tag: int) -> dict[str, tuple[str, ...]]:
    """Return the series that a procedure step names, and the UIDs of their images (PS3.3 C.4.14).

    Raises
    ------
    UnreadableInstance
        If one has no valid UIDs, or there are too many.
    """
    found: dict[str, tuple[str, ...]] = {}
    number = 0
    for item in attributes.items(tag, wanted=frozenset({_SERIES_UID, _IMAGES})):
        images = tuple(one.instance_uid for one in references(item, _IMAGES))
        number += 1 + len(images)
        if number > MAX_REFERENCES:
            raise UnreadableInstance(
                Reason.TOO_LARGE, f"the step names more than {MAX_REFERENCES} series and images"
            )
        found[item.uid(_SERIES_UID, "Series Instance UID")] = images
    return found
