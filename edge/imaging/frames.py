"""The stored pixel values of each frame, whatever syntax carries them.

Sources: DICOM PS3.5 8.1 (native pixel data), A.4 (encapsulated), PS3.3 C.7.6.3.1.2 (photometric
interpretation).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.imaging.attributes import Attributes
from edge.imaging.bounds import Reason, UnreadableInstance
from edge.imaging.codecs import decode_frame
from edge.imaging.description import PixelDescription
from edge.imaging.part10 import NATIVE, PIXELS, Span

Stored = NDArray[Any]
"""Numbers (rows, columns): int32 for whole ones, float32 for float pixels and luminance."""

EXTENDED_OFFSETS = 0x7FE00001
EXTENDED_LENGTHS = 0x7FE00002
WANTED = frozenset({EXTENDED_OFFSETS, EXTENDED_LENGTHS})
"""The tags that `stored_frames` reads besides the description."""

# ITU-R BT.601, as in PS3.3 C.7.6.3.1.2.
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def stored_frames(
    attributes: Attributes, described: PixelDescription, syntax: str
) -> Iterator[Stored]:
    """Yield the stored values of one frame after the other.

    Values are cut to Bits Stored at High Bit, so overlays and rubbish in unused bits are gone,
    and are signed as Pixel Representation says. Colour becomes luminance.

    Raises
    ------
    UnreadableInstance
        If the format or the syntax is not supported, or a frame cannot be decoded.
    """
    _check(described)
    if syntax in NATIVE:
        yield from _native(attributes, described)
        return
    for source in _encapsulated(attributes, described):
        samples = decode_frame(source, syntax, described)
        # A codestream has no bits above the stored ones, unless it was made of whole containers.
        yield _grey(_values(samples, described), described)


def _check(described: PixelDescription) -> None:
    if described.tag != PIXELS:
        return
    if described.allocated not in (1, 8, 16, 32):
        raise UnreadableInstance(Reason.UNSUPPORTED, "Bits Allocated is none of 1, 8, 16, 32")
    if not described.stored - 1 <= described.high < described.allocated:
        raise UnreadableInstance(
            Reason.MALFORMED, "Bits Stored and High Bit do not fit into Bits Allocated"
        )
    if described.samples not in (1, 3):
        raise UnreadableInstance(Reason.UNSUPPORTED, "Samples per Pixel is neither 1 nor 3")
    if described.photometric == "PALETTE COLOR":
        raise UnreadableInstance(Reason.UNSUPPORTED, "palette colour")


def _native(attributes: Attributes, described: PixelDescription) -> Iterator[Stored]:
    data, start = attributes.walk.data, described.span.start
    if attributes.walk.big and described.allocated == 8 and described.span.vr == b"OW":
        # Bytes travel in pairs that are swapped like 16-bit words (PS3.5 8.1.1).
        words = data[start : start + (described.span.stop - start) // 2 * 2]
        data, start = np.frombuffer(words, dtype=np.uint16).byteswap().tobytes(), 0
    for index in range(described.frames):
        first = index * described.frame_bits
        begin, end = start + first // 8, start + -(-(first + described.frame_bits) // 8)
        yield _native_frame(data[begin:end], first % 8, attributes.walk.big, described)


def _native_frame(raw: bytes, skip_bits: int, big: bool, described: PixelDescription) -> Stored:
    shape = (described.rows, described.columns)
    order = ">" if big else "<"
    if described.tag != PIXELS:
        real = np.frombuffer(raw, dtype=f"{order}f{described.allocated // 8}").reshape(shape)
        with np.errstate(over="ignore"):
            return real.astype(np.float32)
    if described.allocated == 1:
        bits = np.unpackbits(np.frombuffer(raw, dtype=np.uint8), bitorder="little")
        return bits[skip_bits : skip_bits + shape[0] * shape[1]].reshape(shape).astype(np.int32)
    flat: Stored = np.frombuffer(raw, dtype=f"{order}u{described.allocated // 8}")
    if described.halved_colour:
        # Y1 Y2 Cb Cr for each two pixels: the luminance is there to be taken.
        if described.columns % 2:
            raise UnreadableInstance(
                Reason.MALFORMED, "halved colour with an odd number of columns"
            )
        return flat.reshape(-1, 4)[:, :2].reshape(shape).astype(np.float32)
    if described.samples == 1:
        return _values(flat.reshape(shape), described)
    if described.planar:
        samples = np.moveaxis(flat.reshape(described.samples, *shape), 0, -1)
    else:
        samples = flat.reshape(*shape, described.samples)
    return _grey(_values(samples, described), described)


def _values(samples: Stored, described: PixelDescription) -> Stored:
    """Cut samples to the stored bits and give them their sign."""
    if described.allocated == 32 and described.stored > 16:
        wide = samples.astype(np.int64) >> (described.high + 1 - described.stored)
        wide &= (1 << described.stored) - 1
        if described.signed:
            sign = 1 << (described.stored - 1)
            wide = (wide ^ sign) - sign
        return wide
    values = samples.astype(np.int32)
    values >>= described.high + 1 - described.stored
    values &= (1 << described.stored) - 1
    if described.signed:
        sign = 1 << (described.stored - 1)
        values ^= sign
        values -= sign
    return values


def _grey(samples: Stored, described: PixelDescription) -> Stored:
    if described.samples == 1:
        return samples.reshape(described.rows, described.columns)
    if described.photometric.startswith(("YBR_FULL", "YBR_PARTIAL")):
        return samples[..., 0].astype(np.float32)
    # RGB, and what JPEG 2000 calls YBR_RCT and YBR_ICT: its decoder has undone those.
    return samples.astype(np.float32) @ _LUMINANCE


def _encapsulated(attributes: Attributes, described: PixelDescription) -> Iterator[bytes]:
    """Yield the bytes of each frame (PS3.5 A.4)."""
    data = attributes.walk.data
    table, *fragments = attributes.walk.fragments(described.span)
    if described.frames == 1:
        yield _joined(data, fragments)
        return
    if len(fragments) == described.frames:
        for one in fragments:
            yield data[one.start : one.stop]
        return
    starts = _offsets(attributes, table)
    # Offsets count from the first byte behind the table.
    begins = [one.start - 8 - table.stop for one in fragments]
    if len(starts) != described.frames or not set(starts) <= set(begins):
        raise UnreadableInstance(
            Reason.PIXELS_SHORT, "the fragments of the pixel data do not make up its frames"
        )
    places = [begins.index(start) for start in starts]
    if places != sorted(set(places)):
        raise UnreadableInstance(Reason.MALFORMED, "the offset table of the frames is out of order")
    for begin, end in zip(places, [*places[1:], len(fragments)], strict=True):
        yield _joined(data, fragments[begin:end])


def _offsets(attributes: Attributes, table: Span) -> list[int]:
    """Return where frames begin, by the extended offset table or the basic one."""
    most = 8 * attributes.walk.limits.max_frames
    extended = attributes.large(EXTENDED_OFFSETS, max_bytes=most)
    if extended:
        return [int(value) for value in np.frombuffer(extended[: len(extended) // 8 * 8], "<u8")]
    length = min(table.stop - table.start, most) // 4 * 4
    return [
        int(value)
        for value in np.frombuffer(attributes.walk.data[table.start : table.start + length], "<u4")
    ]


def _joined(data: bytes, fragments: list[Span]) -> bytes:
    return b"".join(data[one.start : one.stop] for one in fragments)
