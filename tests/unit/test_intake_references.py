"""What a request names is read with bounds, whatever the bytes are."""

from __future__ import annotations

import struct

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from edge.imaging.bounds import Reason, UnreadableInstance
from edge.intake.references import MAX_BYTES, MAX_REFERENCES, read_commitment_request
from edge.store.commitments import Reference

CT = "1.2.840.10008.5.1.4.1.1.2"


def element(tag: int, value: bytes) -> bytes:
    """Return an element in implicit VR."""
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def request(*instances: str, transaction: str = "1.2.3", sop_class: str = CT) -> bytes:
    items = b"".join(
        element(
            0xFFFEE000,
            element(0x00081150, sop_class.encode()) + element(0x00081155, instance.encode()),
        )
        for instance in instances
    )
    return element(0x00081195, transaction.encode()) + element(0x00081199, items)


def why(data: bytes) -> Reason:
    with pytest.raises(UnreadableInstance) as refused:
        read_commitment_request(data, ImplicitVRLittleEndian)
    return refused.value.reason


def test_each_instance_is_named_once_and_in_order() -> None:
    data = request("1.2.4", "1.2.5", "1.2.4")
    read = read_commitment_request(data, ImplicitVRLittleEndian)
    assert read == ("1.2.3", (Reference(CT, "1.2.4"), Reference(CT, "1.2.5")))


def test_what_is_missing_or_no_uid_is_refused() -> None:
    assert why(b"") is Reason.MISSING
    assert why(request()) is Reason.MISSING
    assert why(request("1.2.4", transaction="")) is Reason.MISSING
    assert why(request("Nobody^Jane")) is Reason.BAD_UID
    assert why(request("1.2.4", sop_class="1" * 70)) is Reason.BAD_UID


def test_every_prefix_of_a_request_is_refused_or_whole() -> None:
    data = request("1.2.4", "1.2.5")
    for length in range(len(data)):
        with pytest.raises(UnreadableInstance):
            read_commitment_request(data[:length], ImplicitVRLittleEndian)
        with pytest.raises(UnreadableInstance):
            read_commitment_request(data[:length], ExplicitVRLittleEndian)


def test_more_than_anybody_needs_is_refused() -> None:
    many = (f"1.2.{number + 1}" for number in range(MAX_REFERENCES + 1))
    assert why(request(*many)) is Reason.TOO_LARGE
    assert why(bytes(MAX_BYTES + 1)) is Reason.TOO_LARGE


def test_nesting_without_end_is_refused() -> None:
    deep = struct.pack("<HHLHHL", 0x0008, 0x1199, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    assert why(deep * 1000) is Reason.TOO_LARGE
