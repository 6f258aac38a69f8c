"""Where the elements of a DICOM file lie: a bounded walk that copies and decodes nothing.

Bytes from a network are walked once, here, before anything else looks at them. The walk compares
every length field with the bytes that are there before it believes it, so a file cannot make us
allocate what it claims, recurse without end, or read past its last byte. Sources: DICOM PS3.5 7
(data elements, sequences), PS3.5 A.4 (encapsulated pixel data), PS3.10 7.1 (file meta).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from edge.imaging.bounds import Limits, Reason, UnreadableInstance

EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
NATIVE = frozenset(
    {EXPLICIT_BIG_ENDIAN, IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, DEFLATED_LITTLE_ENDIAN}
)
"""Transfer syntaxes whose pixel data is not encapsulated (PS3.5 A.1 to A.3, A.5)."""

FLOAT_PIXELS = 0x7FE00008
DOUBLE_PIXELS = 0x7FE00009
PIXELS = 0x7FE00010

_TRANSFER_SYNTAX = 0x00020010
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF

# PS3.5 table 7.1-1 and 7.1-2: the VRs with a 32-bit length and those with a 16-bit one.
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split(),
)


class Span(NamedTuple):
    """Where one element's value lies: ``data[start:stop]``."""

    vr: bytes
    start: int
    stop: int
    implicit: bool
    """Whether the items of this value, if it has any, are in implicit VR."""
    undefined: bool
    """Whether the length was undefined, so that `stop` lies behind the closing delimiter."""


def spoken(tag: int) -> str:
    """Return a tag as people write it: ``(0028,0010)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


class Walk:
    """A walk over one data set's bytes.

    It holds what is left of the element budget, so one walk serves one instance and one thread.
    """

    __slots__ = (
        "_head16",
        "_head32",
        "_implicit_head",
        "_left",
        "_length32",
        "big",
        "data",
        "limits",
    )

    def __init__(self, data: bytes, *, big: bool, limits: Limits) -> None:
        order = ">" if big else "<"
        self.data = data
        self.big = big
        self.limits = limits
        self._left = limits.max_elements
        self._head16 = struct.Struct(f"{order}HH2sH")
        self._length32 = struct.Struct(f"{order}L")
        self._implicit_head = struct.Struct(f"{order}HHL")

    def data_set(self, start: int, *, implicit: bool, wanted: frozenset[int]) -> dict[int, Span]:
        """Return where the `wanted` elements of the data set that begins at `start` lie.

        Raises
        ------
        UnreadableInstance
            If the bytes are not a whole data set.
        """
        if not implicit and start + 8 <= len(self.data):
            # A few senders write implicit VR under an explicit syntax's name.
            implicit = not self._is_vr(start + 4)
        found, _ = self._elements(
            start, len(self.data), implicit=implicit, wanted=wanted, depth=0, delimited=False
        )
        return found

    def items(
        self, span: Span, *, wanted: frozenset[int] | None, depth: int = 1
    ) -> Iterator[dict[int, Span]]:
        """Yield the elements of each item of a sequence; all of them if `wanted` is None."""
        position = span.start
        while position < span.stop:
            tag, length = self._item_head(position, span.stop)
            position += 8
            if tag == _SEQUENCE_END:
                return
            found, position = self._item(
                position, length, span.stop, implicit=span.implicit, wanted=wanted, depth=depth
            )
            yield found

    def fragments(self, span: Span) -> list[Span]:
        """Return where the fragments of encapsulated pixel data lie, the offset table first."""
        found: list[Span] = []
        self._past_fragments(span.start, span.stop, found)
        return found

    def meta(self) -> tuple[str, int]:
        """Return the Transfer Syntax UID and where the data set begins (PS3.10 7.1)."""
        if len(self.data) < 132 or self.data[128:132] != b"DICM":
            raise UnreadableInstance(Reason.NOT_DICOM, "no DICM prefix behind a 128-byte preamble")
        position = 132
        syntax = ""
        # Walked element by element: the group length is missing or wrong in some files.
        while self.data[position : position + 2] == b"\x02\x00":
            tag, _, start, length = self._head(position, len(self.data), implicit=False)
            if length > len(self.data) - start:
                raise self._truncated(tag, position)
            position = start + length
            if tag == _TRANSFER_SYNTAX:
                if length > 66:
                    raise UnreadableInstance(
                        Reason.BAD_UID, "Transfer Syntax UID (0002,0010) is longer than 64 bytes"
                    )
                syntax = self.data[start:position].decode("ascii", "replace").rstrip("\0 ")
        if not syntax:
            raise UnreadableInstance(Reason.MISSING, "no Transfer Syntax UID (0002,0010)")
        return syntax, position

    def _is_vr(self, position: int) -> bool:
        vr = self.data[position : position + 2]
        return vr in _SHORT or vr in _LONG or (vr.isalpha() and vr.isupper())

    def _truncated(self, tag: int, position: int) -> UnreadableInstance:
        return UnreadableInstance(
            Reason.TRUNCATED,
            f"{spoken(tag)} at byte {position} claims more bytes than there are",
        )

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise UnreadableInstance(
                Reason.TOO_LARGE, f"more than {self.limits.max_elements} elements and items"
            )

    def _head(self, position: int, stop: int, *, implicit: bool) -> tuple[int, bytes, int, int]:
        """Return tag, VR, where the value begins, and its claimed length."""
        self._spend()
        if stop - position < 8:
            raise UnreadableInstance(
                Reason.TRUNCATED, f"the bytes end within an element's head at byte {position}"
            )
        if implicit:
            group, element, length = self._implicit_head.unpack_from(self.data, position)
            return group << 16 | element, b"", position + 8, length
        group, element, vr, length = self._head16.unpack_from(self.data, position)
        tag = group << 16 | element
        if vr in _SHORT:
            return tag, vr, position + 8, length
        if group == 0xFFFE:
            length = self._length32.unpack_from(self.data, position + 4)[0]
            return tag, b"", position + 8, length
        if vr not in _LONG:
            raise UnreadableInstance(
                Reason.MALFORMED,
                f"{spoken(tag)} at byte {position} has a VR that DICOM does not define",
            )
        if stop - position < 12:
            raise self._truncated(tag, position)
        return tag, vr, position + 12, self._length32.unpack_from(self.data, position + 8)[0]

    def _elements(
        self,
        position: int,
        stop: int,
        *,
        implicit: bool,
        wanted: frozenset[int] | None,
        depth: int,
        delimited: bool,
    ) -> tuple[dict[int, Span], int]:
        found: dict[int, Span] = {}
        while position < stop:
            begin = position
            tag, vr, start, length = self._head(position, stop, implicit=implicit)
            if tag == _ITEM_END and delimited:
                return found, start
            if tag >> 16 in (0xFFFE, 0x0000):
                if depth == 0 and found and not any(self.data[begin:stop]):
                    return found, stop  # zeros behind the last element: padding of the medium
                raise UnreadableInstance(
                    Reason.MALFORMED, f"{spoken(tag)} at byte {begin} does not belong there"
                )
            undefined = length == _UNDEFINED
            nested = implicit or vr == b"UN"
            if undefined:
                position = self._past_undefined(tag, vr, start, stop, nested=nested, depth=depth)
            elif length > stop - start:
                if depth == 0 and tag == PIXELS and (wanted is None or tag in wanted):
                    # How much is there decides what is said: see header's check of the pixels.
                    found[tag] = Span(vr, start, start + length, nested, undefined)
                    return found, stop
                raise self._truncated(tag, begin)
            else:
                position = start + length
            if wanted is None or tag in wanted:
                if tag in found:
                    raise UnreadableInstance(Reason.MALFORMED, f"{spoken(tag)} appears twice")
                found[tag] = Span(vr, start, position, nested, undefined)
        if delimited:
            raise UnreadableInstance(
                Reason.TRUNCATED, f"an item that should be closed is not, at byte {position}"
            )
        return found, position

    def _past_undefined(
        self, tag: int, vr: bytes, start: int, stop: int, *, nested: bool, depth: int
    ) -> int:
        if tag & 0xFFFF == 0x0010 and tag >> 16 == 0x7FE0 and vr in (b"OB", b"OW", b"UN"):
            return self._past_fragments(start, stop, None)
        if not nested and vr != b"SQ":
            raise UnreadableInstance(
                Reason.MALFORMED, f"{spoken(tag)} at byte {start} has no length"
            )
        if depth >= self.limits.max_nesting:
            raise UnreadableInstance(
                Reason.TOO_LARGE, f"sequences nested deeper than {self.limits.max_nesting}"
            )
        position = start
        nothing: frozenset[int] = frozenset()
        while True:
            item, length = self._item_head(position, stop)
            position += 8
            if item == _SEQUENCE_END:
                return position
            if length != _UNDEFINED:
                if length > stop - position:
                    raise self._truncated(item, position)
                position += length
                continue
            _, position = self._item(
                position, length, stop, implicit=nested, wanted=nothing, depth=depth + 1
            )

    def _item_head(self, position: int, stop: int) -> tuple[int, int]:
        self._spend()
        if stop - position < 8:
            raise UnreadableInstance(
                Reason.TRUNCATED, f"a sequence that should be closed is not, at byte {position}"
            )
        group, element, length = self._implicit_head.unpack_from(self.data, position)
        tag: int = group << 16 | element
        if tag not in (_ITEM, _SEQUENCE_END):
            raise UnreadableInstance(
                Reason.MALFORMED, f"no item of a sequence where one should be, at byte {position}"
            )
        return tag, length

    def _item(
        self,
        position: int,
        length: int,
        stop: int,
        *,
        implicit: bool,
        wanted: frozenset[int] | None,
        depth: int,
    ) -> tuple[dict[int, Span], int]:
        if depth > self.limits.max_nesting:
            raise UnreadableInstance(
                Reason.TOO_LARGE, f"sequences nested deeper than {self.limits.max_nesting}"
            )
        delimited = length == _UNDEFINED
        if not delimited:
            if length > stop - position:
                raise self._truncated(_ITEM, position)
            stop = position + length
        if (
            not implicit
            and stop - position >= 8
            and self.data[position : position + 2]
            not in (
                b"\xfe\xff",
                b"\xff\xfe",
            )
        ):
            implicit = not self._is_vr(position + 4)
        return self._elements(
            position, stop, implicit=implicit, wanted=wanted, depth=depth, delimited=delimited
        )

    def _past_fragments(self, position: int, stop: int, found: list[Span] | None) -> int:
        while True:
            tag, length = self._item_head(position, stop)
            position += 8
            if tag == _SEQUENCE_END:
                return position
            if length > stop - position:
                raise self._truncated(tag, position)
            if found is not None:
                found.append(Span(b"OB", position, position + length, False, False))
            position += length


@dataclass(frozen=True, slots=True)
class Part10:
    """One opened instance: its syntax and where the wanted elements lie."""

    syntax: str
    walk: Walk
    spans: dict[int, Span]


def open_part10(source: bytes | BinaryIO, *, limits: Limits, wanted: frozenset[int]) -> Part10:
    """Open a DICOM Part 10 instance and find the `wanted` elements of its data set.

    Parameters
    ----------
    source : bytes or BinaryIO
        Preamble, file meta and data set.
    limits : Limits
        What may be read at all.
    wanted : frozenset of int
        Tags, as ``group << 16 | element``.

    Raises
    ------
    UnreadableInstance
        If it is not DICOM, is cut short, breaks PS3.5's rules of encoding, or is over a limit.
    """
    data = source if isinstance(source, bytes) else source.read(limits.max_bytes + 1)
    if len(data) > limits.max_bytes:
        raise UnreadableInstance(
            Reason.TOO_LARGE, f"the instance is larger than {limits.max_bytes} bytes"
        )
    walk = Walk(data, big=False, limits=limits)
    syntax, start = walk.meta()
    if syntax == DEFLATED_LITTLE_ENDIAN:
        walk = Walk(_inflate(data[start:], limits.max_bytes), big=False, limits=limits)
        start = 0
    elif syntax == EXPLICIT_BIG_ENDIAN:
        walk = Walk(data, big=True, limits=limits)
    spans = walk.data_set(start, implicit=syntax == IMPLICIT_LITTLE_ENDIAN, wanted=wanted)
    return Part10(syntax, walk, spans)


def _inflate(deflated: bytes, max_bytes: int) -> bytes:
    """Inflate a deflated data set (PS3.5 A.5) as far as `max_bytes` and no further."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(deflated, max_bytes + 1)
    except zlib.error as error:
        raise UnreadableInstance(
            Reason.MALFORMED, "the deflated data set cannot be inflated"
        ) from error
    if len(inflated) > max_bytes:
        raise UnreadableInstance(
            Reason.TOO_LARGE, f"the data set inflates to more than {max_bytes} bytes"
        )
    if not stream.eof:
        raise UnreadableInstance(Reason.TRUNCATED, "the deflated data set is cut short")
    return inflated
