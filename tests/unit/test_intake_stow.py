"""A store request is read part by part, within bounds, however it is cut on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.intake.stow import BadRequest, Failed, Part, PartReader, Stored, boundary_of, response

B = b"zzz"
DICOM = 'multipart/related; type="application/dicom"; boundary=zzz'


def body(*parts: bytes, media_type: bytes = b"application/dicom") -> bytes:
    head = b"\r\n--zzz\r\nContent-Type: " + media_type + b"\r\nContent-Location: x\r\n\r\n"
    return b"".join(head + part for part in parts) + b"\r\n--zzz--\r\n"


class Held:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self, amount: int) -> None:
        self.now += amount


def read(chunks: Sequence[bytes], max_part: int = 1000) -> list[Part]:
    reader = PartReader(B, max_part=max_part, hold=Held())
    parts = [part for chunk in chunks for part in reader.feed(chunk)]
    reader.close()
    return parts


@given(
    parts=st.lists(st.binary(max_size=40), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 600), max_size=6),
)
def test_parts_come_out_as_they_went_in_wherever_the_network_cuts_them(
    parts: list[bytes], cuts: list[int]
) -> None:
    parts = [part.replace(b"--zzz", b"") for part in parts]
    whole = body(*parts)
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    chunks = [whole[a:b] for a, b in pairwise(places)]
    assert read(chunks) == [Part("application/dicom", part, len(part)) for part in parts]


def test_of_a_part_that_is_too_large_nothing_is_held_and_the_next_is_read() -> None:
    held = Held()
    reader = PartReader(B, max_part=10, hold=held)
    large, small = reader.feed(body(b"x" * 5000, b"small"))
    assert (large.data, large.length) == (None, 5000)
    assert small.data == b"small"
    assert held.now == len(b"small")


@pytest.mark.parametrize(
    ("chunks", "why"),
    [
        ([b"no multipart at all"], "not well-formed"),
        ([body(b"x")[:-8]], "ends before its last boundary"),
        ([b"--zzz--\r\n"], "holds no part"),
        ([b"--zzz\r\nA: " + b"x" * 100_000 + b"\r\n\r\n"], "not well-formed|too large"),
    ],
)
def test_what_is_no_request_is_told_as_such(chunks: list[bytes], why: str) -> None:
    with pytest.raises(BadRequest, match=why) as refused:
        read(chunks)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("", 415),
        ("application/dicom", 415),
        ('multipart/related; type="application/dicom+json"; boundary=zzz', 415),
        ('multipart/form-data; type="application/dicom"; boundary=zzz', 415),
        ('multipart/related; type="application/dicom"', 400),
        (f'multipart/related; type="application/dicom"; boundary={"z" * 71}', 400),
    ],
)
def test_only_dicom_files_are_taken(content_type: str, status: int) -> None:
    with pytest.raises(BadRequest) as refused:
        boundary_of(content_type)
    assert refused.value.status == status


def test_a_boundary_may_be_quoted() -> None:
    assert boundary_of(DICOM) == boundary_of(DICOM.replace("=zzz", '="zzz"')) == B


def test_the_answer_names_what_was_stored_what_was_not_and_why() -> None:
    answer = response([Stored("1.2", "1.3")], [Failed(0xA900, "1.4", "1.5"), Failed(0xC000)])
    assert answer["00081199"]["Value"][0]["00081155"]["Value"] == ["1.3"]
    (failed,) = answer["00081198"]["Value"]
    assert (failed["00081155"]["Value"], failed["00081197"]["Value"]) == (["1.5"], [0xA900])
    assert answer["0008119A"]["Value"] == [{"00081197": {"vr": "US", "Value": [0xC000]}}]
    assert set(response([], [])) == {"00081190"}
