"""What a compressed frame claims of itself, read before a decoder believes it.

A decoder allocates what the codestream claims, and GDCM ends its process when the markers before
the pixels do not follow one another. So both are checked here. Sources: ITU-T T.81 B.1 and B.2
(JPEG), T.87 C.2 (JPEG-LS), T.800 A.5.1 (JPEG 2000).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from edge.imaging.bounds import Reason, UnreadableInstance

LOSSLESS = 0xC3
"""SOF3: JPEG lossless, sequential."""
BASELINE = 0xC0
"""SOF0: JPEG baseline."""

_SCAN = 0xDA
_JPEG_LS = 0xF7
_NOT_FRAMES = frozenset({0xC4, 0xC8, 0xCC})  # DHT, JPG, DAC
# DHT, DAC, DQT, DNL, DRI, LSE, COM and APP0 to APP15: what may stand around the frame header.
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xF8, 0xFE, *range(0xE0, 0xF0)})


@dataclass(frozen=True, slots=True)
class Claim:
    """The size of a frame by its own codestream.

    Parameters
    ----------
    rows, columns, components : int
        Its extent and its samples per pixel.
    precision : int
        Bits of a sample; 0 for JPEG 2000, where components differ.
    process : int
        JPEG's start-of-frame marker, its second byte; 0 for JPEG 2000.
    """

    rows: int
    columns: int
    components: int
    precision: int
    process: int


def jpeg_claim(source: bytes) -> Claim:
    """Read the frame header of a JPEG or JPEG-LS codestream.

    Raises
    ------
    UnreadableInstance
        If the marker segments from the start of the image to its first scan are not a whole
        chain with one frame header in it, or no end of image follows.
    """
    claim: Claim | None = None
    position = 2 if source.startswith(b"\xff\xd8") else len(source)
    while position + 4 <= len(source) and source[position] == 0xFF:
        marker = source[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        length = int.from_bytes(source[position + 2 : position + 4], "big")
        if _is_frame(marker) and claim is None and length >= 8:
            claim = _frame_header(source, position + 4, marker)
        elif marker == _SCAN and claim is not None:
            if source.find(b"\xff\xd9", position) < 0:
                raise UnreadableInstance(Reason.UNDECODABLE, "a JPEG frame without an end")
            return claim
        elif marker not in _TABLES or length < 2:
            break
        position += 2 + length
    raise UnreadableInstance(Reason.UNDECODABLE, "a JPEG frame whose head is damaged")


def jpeg_2000_claim(source: bytes) -> Claim:
    """Read the image and tile size of a JPEG 2000 codestream, boxed or not.

    Raises
    ------
    UnreadableInstance
        If it is not there.
    """
    start = source.find(b"\xff\x4f\xff\x51", 0, 4096)
    head = source[start + 8 : start + 42] if start >= 0 else b""
    if len(head) < 34:
        raise UnreadableInstance(Reason.UNDECODABLE, "a JPEG 2000 frame without its size")
    right, bottom, left, top, *_, components = struct.unpack(">8LH", head)
    return Claim(bottom - top, right - left, components, precision=0, process=0)


def _is_frame(marker: int) -> bool:
    return marker == _JPEG_LS or (0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES)


def _frame_header(source: bytes, position: int, marker: int) -> Claim:
    head = source[position : position + 6]
    if len(head) < 6:
        raise UnreadableInstance(Reason.UNDECODABLE, "a JPEG frame whose head is cut short")
    precision, rows, columns, components = struct.unpack(">BHHB", head)
    if not 2 <= precision <= 16:
        raise UnreadableInstance(Reason.UNDECODABLE, "a JPEG frame of impossible precision")
    return Claim(rows, columns, components, precision, process=marker)
