"""Store Transaction (STOW-RS) as it stands on the wire, without a network. PS3.18 section 10.5.

A request is ``multipart/related`` of DICOM files; the answer says of each what became of it. Parts
are given out as they are complete: one at a time is in memory, however many come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.message import Message
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

MEDIA_TYPE = "application/dicom+json"
MAX_PARTS = 20_000
_MAX_HEADERS = 8192  # bytes, of one part
_MAX_BOUNDARY = 70  # RFC 2046 section 5.1.1


class BadRequest(ValueError):
    """A request that is none: the status to answer, and the text says what is wrong."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a request. `data` is None when it was too large; `length` counts all the same."""

    media_type: str
    data: bytes | None
    length: int


@dataclass(frozen=True, slots=True)
class Stored:
    """An instance that was stored."""

    sop_class: str
    instance: str


@dataclass(frozen=True, slots=True)
class Failed:
    """What was not stored: a failure reason (PS3.18 table I.2-2), of which instance, if known."""

    reason: int
    sop_class: str = ""
    instance: str = ""


def boundary_of(content_type: str) -> bytes:
    """Return what parts the parts of a request.

    Raises
    ------
    BadRequest
        415 when it is not ``multipart/related; type="application/dicom"``, 400 when it has no
        usable boundary.
    """
    media_type, parameter = _parsed(content_type)
    if media_type != "multipart/related" or parameter("type").lower() != "application/dicom":
        raise BadRequest(415, 'Send multipart/related; type="application/dicom".')
    boundary = parameter("boundary")
    if not 0 < len(boundary) <= _MAX_BOUNDARY or not boundary.isascii():
        raise BadRequest(400, "The request names no boundary of its parts.")
    return boundary.encode("ascii")


def _parsed(content_type: str) -> tuple[str, Callable[[str], str]]:
    """Return a media type, and what reads its parameters (RFC 2045 section 5.1)."""
    message = Message()
    message["Content-Type"] = content_type

    def parameter(name: str) -> str:
        value = message.get_param(name, "")
        return value if isinstance(value, str) else ""

    return message.get_content_type(), parameter


class PartReader:
    """Reads the parts of a request from its bytes, as they come.

    Parameters
    ----------
    boundary : bytes
    max_part : int
        Bytes of one part; of a larger one no byte is kept.
    hold : callable
        Is told how many bytes more are held; what it raises ends the reading.
    """

    def __init__(self, boundary: bytes, *, max_part: int, hold: Callable[[int], None]) -> None:
        self._max_part = max_part
        self._hold = hold
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_part_data": self._more,
                "on_part_end": self._end,
                "on_header_field": self._name,
                "on_header_value": self._value,
                "on_header_end": self._header,
                "on_end": self._finish,
            },
        )
        self._ready: deque[Part] = deque()
        self._data: bytearray | None = None
        self._length = self._parts = self._header_bytes = 0
        self._field, self._text = b"", b""
        self._media_type = ""
        self._whole = False

    def feed(self, data: bytes) -> Iterable[Part]:
        """Take bytes in, and yield the parts that they complete.

        Raises
        ------
        BadRequest
            If they are not as RFC 2046 has them, or over a bound.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise BadRequest(400, "The request is not well-formed multipart.") from error
        while self._ready:
            yield self._ready.popleft()

    def close(self) -> None:
        """Raise `BadRequest` if the last boundary never came, or there was no part."""
        if not self._whole:
            raise BadRequest(400, "The request ends before its last boundary.")
        if not self._parts:
            raise BadRequest(400, "The request holds no part.")

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise BadRequest(413, f"More than {MAX_PARTS} parts; send the study in several.")
        self._data, self._length, self._header_bytes = bytearray(), 0, 0
        self._media_type = ""

    def _name(self, data: bytes, start: int, end: int) -> None:
        self._field += self._of_header(data[start:end])

    def _value(self, data: bytes, start: int, end: int) -> None:
        self._text += self._of_header(data[start:end])

    def _of_header(self, data: bytes) -> bytes:
        self._header_bytes += len(data)
        if self._header_bytes > _MAX_HEADERS:
            raise BadRequest(400, "A part's header is too large.")
        return data

    def _header(self) -> None:
        if self._field.lower() == b"content-type":
            self._media_type = _parsed(self._text.decode("latin-1"))[0]
        self._field, self._text = b"", b""

    def _more(self, data: bytes, start: int, end: int) -> None:
        self._length += end - start
        if self._data is None:
            return
        if self._length > self._max_part:
            self._hold(-len(self._data))
            self._data = None
            return
        self._hold(end - start)
        self._data += memoryview(data)[start:end]

    def _end(self) -> None:
        data = None if self._data is None else bytes(self._data)
        self._ready.append(Part(self._media_type, data, self._length))
        self._data = None

    def _finish(self) -> None:
        self._whole = True


def response(stored: Iterable[Stored], failed: Iterable[Failed]) -> dict[str, Any]:
    """Return the Store Instances Response Module in the DICOM JSON model (PS3.18 I.2, F.2).

    What was stored cannot be retrieved here, so that no Retrieve URL is given.
    """
    kept, lost = list(stored), list(failed)
    known = [one for one in lost if one.instance]
    other = [one for one in lost if not one.instance]
    answer: dict[str, Any] = {"00081190": {"vr": "UR"}}
    if known:
        items = [{**_named(one.sop_class, one.instance), **_reason(one)} for one in known]
        answer["00081198"] = {"vr": "SQ", "Value": items}
    if kept:
        named = [_named(one.sop_class, one.instance) for one in kept]
        answer["00081199"] = {"vr": "SQ", "Value": named}
    if other:
        answer["0008119A"] = {"vr": "SQ", "Value": [_reason(one) for one in other]}
    return answer


def _named(sop_class: str, instance: str) -> dict[str, Any]:
    return {
        "00081150": {"vr": "UI", "Value": [sop_class]},
        "00081155": {"vr": "UI", "Value": [instance]},
    }


def _reason(failed: Failed) -> dict[str, Any]:
    return {"00081197": {"vr": "US", "Value": [failed.reason]}}
