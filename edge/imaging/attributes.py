"""Values of a data set as Python has them: absent, empty and invalid are all None or empty.

Real scanners send empty decimal strings, numbers in words and dates that do not exist. Each is
a value we do without, never a crash. Sources: DICOM PS3.5 6.2 (value representations).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator

from edge.imaging.bounds import Reason, UnreadableInstance
from edge.imaging.part10 import Part10, Span, Walk, spoken
from edge.imaging.text import codec_named, decode

_CHARACTER_SET = 0x00080005
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)+")
# PS3.5 table 6.2-1; Python alone would also take "1_0", "infinity" and Arabic digits.
_DECIMAL = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_BINARY = {b"FD": ("d", 8), b"FL": ("f", 4), b"US": ("H", 2), b"UL": ("L", 4), b"SS": ("h", 2)}


class Attributes:
    """Typed access to the elements that a walk found in one data set or one item."""

    __slots__ = ("_codec", "_depth", "_spans", "walk")

    def __init__(
        self, walk: Walk, spans: dict[int, Span], *, codec: str | None = None, depth: int = 0
    ) -> None:
        self.walk = walk
        self._spans = spans
        self._depth = depth
        own = self.raw(_CHARACTER_SET)
        self._codec = codec_named(own) if own else codec or "latin_1"

    @classmethod
    def of(cls, part10: Part10) -> Attributes:
        """Return the attributes of an opened instance."""
        return cls(part10.walk, part10.spans)

    def __contains__(self, tag: int) -> bool:
        return tag in self._spans

    def span(self, tag: int) -> Span | None:
        """Return where a value lies, or None if it is absent."""
        return self._spans.get(tag)

    def raw(self, tag: int) -> bytes:
        """Return a value's bytes, empty if absent.

        Raises
        ------
        UnreadableInstance
            If the value is larger than any sane one.
        """
        span = self._spans.get(tag)
        if span is None:
            return b""
        if span.stop - span.start > self.walk.limits.max_value_bytes:
            raise UnreadableInstance(
                Reason.TOO_LARGE,
                f"{spoken(tag)} is larger than {self.walk.limits.max_value_bytes} bytes",
            )
        return self.walk.data[span.start : span.stop]

    def large(self, tag: int, *, max_bytes: int) -> bytes:
        """Return the bytes of a value that may be long, a look-up table, bounded by `max_bytes`."""
        span = self._spans.get(tag)
        if span is None:
            return b""
        return self.walk.data[span.start : min(span.stop, span.start + max_bytes)]

    def text(self, tag: int) -> str:
        """Return free text or a name, decoded by the data set's character set."""
        return decode(self.raw(tag), self._codec)

    def code(self, tag: int) -> str:
        """Return the first code string (VR CS, SH), upper-cased."""
        return next(iter(self.codes(tag)), "")

    def codes(self, tag: int) -> tuple[str, ...]:
        """Return all code strings (VR CS), upper-cased and without padding."""
        raw = self.raw(tag).decode("latin_1").strip("\0 ")
        return tuple(value.strip("\0 ").upper() for value in raw.split("\\")) if raw else ()

    def uid(self, tag: int, name: str) -> str:
        """Return a UID (PS3.5 9).

        Leading zeros in a component are let pass: scanners in service send them.

        Raises
        ------
        UnreadableInstance
            If it is absent, longer than 64 characters, or not digits and dots.
        """
        raw = self.raw(tag)
        value = raw.decode("latin_1").rstrip("\0 ")
        if not value:
            raise UnreadableInstance(Reason.MISSING, f"no {name} {spoken(tag)}")
        if len(value) > 64:
            raise UnreadableInstance(
                Reason.BAD_UID, f"{name} {spoken(tag)} is longer than 64 characters"
            )
        if not _UID.fullmatch(value):
            raise UnreadableInstance(
                Reason.BAD_UID, f"{name} {spoken(tag)} is not digits separated by dots"
            )
        return value

    def numbers(self, tag: int) -> tuple[float | None, ...]:
        """Return a numeric value (VR DS, IS, FD, FL, US, UL, SS); None for each invalid one."""
        raw = self.raw(tag)
        span = self._spans.get(tag)
        if span is None or not raw:
            return ()
        if span.vr in _BINARY:
            letter, size = _BINARY[span.vr]
            count = len(raw) // size
            order = ">" if self.walk.big else "<"
            values = struct.unpack_from(f"{order}{count}{letter}", raw)
            return tuple(float(value) if math.isfinite(value) else None for value in values)
        return tuple(_decimal(part) for part in raw.split(b"\\"))

    def number(self, tag: int) -> float | None:
        """Return the first number, None if absent or invalid."""
        return next(iter(self.numbers(tag)), None)

    def vector(self, tag: int, count: int) -> tuple[float, ...] | None:
        """Return exactly `count` finite numbers, or None."""
        values = tuple(value for value in self.numbers(tag) if value is not None)
        return values if len(values) == count == len(self.numbers(tag)) else None

    def integer(self, tag: int) -> int | None:
        """Return a whole number written as text (VR IS), None if absent or invalid."""
        value = self.number(tag)
        return int(value) if value is not None and value == int(value) else None

    def short(self, tag: int) -> int | None:
        """Return the first unsigned 16-bit number (VR US), None if absent or cut short."""
        raw = self.raw(tag)
        return (
            int.from_bytes(raw[:2], "big" if self.walk.big else "little") if len(raw) > 1 else None
        )

    def shorts(self, tag: int, *, signed: bool) -> tuple[int, ...]:
        """Return all 16-bit numbers of a value whose VR is US or SS by context."""
        raw = self.raw(tag)
        order = ">" if self.walk.big else "<"
        return struct.unpack_from(f"{order}{len(raw) // 2}{'h' if signed else 'H'}", raw)

    def items(self, tag: int, *, wanted: frozenset[int] | None = None) -> Iterator[Attributes]:
        """Yield the items of a sequence; nothing if it is absent."""
        span = self._spans.get(tag)
        if span is None or (span.vr not in (b"SQ", b"UN", b"")):
            return
        for spans in self.walk.items(span, wanted=wanted, depth=self._depth + 1):
            yield Attributes(self.walk, spans, codec=self._codec, depth=self._depth + 1)

    def first(self, tag: int, *, wanted: frozenset[int] | None = None) -> Attributes | None:
        """Return the first item of a sequence, or None."""
        return next(self.items(tag, wanted=wanted), None)


def _decimal(raw: bytes) -> float | None:
    raw = raw.strip(b"\0 ")
    if len(raw) > 64 or not _DECIMAL.fullmatch(raw):
        return None
    value = float(raw)
    return value if math.isfinite(value) else None
