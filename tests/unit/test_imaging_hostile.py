"""Bytes that were made to hurt, or were merely damaged."""

from __future__ import annotations

import struct
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from builders import META, ct_data_set, ct_slice, with_values
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless

from edge.imaging.header import Limits, Reason, UnreadableInstance, read_header
from edge.imaging.pixels import decode

LIMITS = Limits()
UNDEFINED = b"\xff\xff\xff\xff"
VALID = {
    "explicit": ct_slice(),
    "implicit": ct_slice(syntax=ImplicitVRLittleEndian),
    "big": ct_slice(syntax=ExplicitVRBigEndian),
}
COMPRESSED = {
    name: ct_slice(stored=np.arange(256, dtype=np.uint16).reshape(16, 16), syntax=syntax)
    for name, syntax in {"rle": RLELossless, "jpeg-ls": JPEGLSLossless}.items()
}


def refused(data: bytes, limits: Limits = LIMITS) -> UnreadableInstance:
    with pytest.raises(UnreadableInstance) as caught:
        read_header(data, limits=limits)
    return caught.value


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0xFFFFFFFE, 0x10000000])
@pytest.mark.parametrize("tag", [b"\x10\0\x10\0", b"\xe0\x7f\x10\0", b"\x09\0\x10\0"])
def test_a_length_that_claims_gigabytes_allocates_nothing(length: int, tag: bytes) -> None:
    data = META + tag + b"OB\0\0" + struct.pack("<L", length) + b"few bytes"
    tracemalloc.start()
    error = refused(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error.reason in (Reason.TRUNCATED, Reason.MISSING)
    assert peak < 1_000_000


def test_a_bomb_of_nested_sequences_is_refused_by_depth() -> None:
    sequence = b"\x08\0\x40\x11SQ\0\0" + UNDEFINED + b"\xfe\xff\0\xe0" + UNDEFINED
    assert refused(META + sequence * 100_000).reason is Reason.TOO_LARGE


def test_a_flood_of_empty_elements_is_refused_in_bounded_time() -> None:
    flood = b"".join(struct.pack("<HHL", 9, index & 0xFFFF, 0) for index in range(65_536)) * 16
    implicit = META.replace(b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2\0\0")
    began = time.process_time()
    error = refused(implicit + flood, Limits(max_elements=100_000))
    assert error.reason is Reason.TOO_LARGE
    assert time.process_time() - began < 5


def test_an_unclosed_sequence_is_truncated() -> None:
    item = b"\xfe\xff\0\xe0" + struct.pack("<L", 0)
    assert refused(META + b"\x08\0\x40\x11SQ\0\0" + UNDEFINED + item).reason is Reason.TRUNCATED


def test_a_vr_that_does_not_exist_is_malformed() -> None:
    first = b"\x08\0\x05\0CS\x04\0UTF8"
    assert refused(META + first + b"\x08\0\x60\0ZZ\x02\0CT").reason is Reason.MALFORMED


def test_an_element_that_appears_twice_is_malformed() -> None:
    modality = b"\x08\0\x60\0CS\x02\0CT"
    assert refused(META + modality + modality).reason is Reason.MALFORMED


@pytest.mark.parametrize("data", [b"", b"DICM", b"\0" * 131, b"%PDF-1.7" * 100, b"\xff" * 5000])
def test_what_is_not_dicom_is_called_so(data: bytes) -> None:
    assert refused(data).reason is Reason.NOT_DICOM


def test_a_file_without_a_transfer_syntax_is_refused() -> None:
    assert refused(b"\0" * 128 + b"DICM").reason is Reason.MISSING


def test_a_huge_text_is_refused() -> None:
    long_name = with_values(ct_data_set(), {"PatientName": b"x" * 60_000})
    assert refused(long_name, Limits(max_value_bytes=50_000)).reason is Reason.TOO_LARGE


def test_rubbish_in_a_name_is_text_with_holes_and_no_control_characters() -> None:
    data = with_values(ct_data_set(), {"PatientName": b"\xff\xfe\x1b$Bz\x07\n^\x1b"})
    _, identity = read_header(data, limits=LIMITS)
    assert identity.name.isprintable()


@pytest.mark.parametrize("name", VALID)
@settings(max_examples=60, deadline=2000)
@given(cut=st.integers(0, len(VALID["big"])))
def test_a_truncated_file_is_refused_or_whole(name: str, cut: int) -> None:
    _survives(VALID[name][:cut])


@pytest.mark.parametrize("name", VALID)
@settings(max_examples=80, deadline=2000)
@given(
    flips=st.lists(
        st.tuples(st.integers(132, len(VALID["big"]) - 1), st.integers(0, 255)), max_size=6
    )
)
def test_flipped_bytes_raise_nothing_but_unreadable(
    name: str, flips: list[tuple[int, int]]
) -> None:
    damaged = bytearray(VALID[name])
    for place, value in flips:
        damaged[min(place, len(damaged) - 1)] = value
    _survives(bytes(damaged))


@settings(max_examples=60, deadline=2000)
@given(body=st.binary(max_size=400))
def test_random_bytes_behind_a_good_start_raise_nothing_but_unreadable(body: bytes) -> None:
    _survives(META + body)


@pytest.mark.parametrize("name", COMPRESSED)
@settings(max_examples=60, deadline=2000)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6)
)
def test_a_damaged_codestream_raises_nothing_but_unreadable(
    name: str, flips: list[tuple[int, int]]
) -> None:
    damaged = bytearray(COMPRESSED[name])
    start = damaged.index(b"\xe0\x7f\x10\x00")
    for place, value in flips:
        damaged[start + place % (len(damaged) - start)] = value
    _survives(bytes(damaged))


def _survives(data: bytes) -> None:
    for read in (read_header, decode):
        told = _refusal(read, data)
        assert "Nobody" not in told
        assert "TEST-1" not in told


def _refusal(read: Callable[..., object], data: bytes) -> str:
    try:
        read(data, limits=LIMITS)
    except UnreadableInstance as refusal:
        return str(refusal)
    return ""
