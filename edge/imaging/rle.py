"""DICOM's run-length encoding (PS3.5 G).

Written here because the decoder in Rust that pydicom uses panics on a damaged frame, in a way that
no ``except Exception`` stops. Copying slices, Python is fast enough for a syntax this rare.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from edge.imaging.bounds import Reason, UnreadableInstance

_MOST_SEGMENTS = 15
_HEAD_BYTES = 64


def decode(source: bytes, *, segments: int, length: int) -> NDArray[np.uint8]:
    """Decode one frame.

    Parameters
    ----------
    source : bytes
        The frame, its 64-byte head first.
    segments : int
        Byte planes that the frame must have: samples per pixel x bytes per sample.
    length : int
        Bytes of each plane: the frame's pixels.

    Returns
    -------
    uint8 (segments, length)
        The planes in the order of the file.

    Raises
    ------
    UnreadableInstance
        If the head is impossible, or a segment decodes to fewer bytes than it should.
    """
    if len(source) < _HEAD_BYTES:
        raise UnreadableInstance(Reason.UNDECODABLE, "an RLE frame without its head")
    count, *starts = struct.unpack("<16L", source[:_HEAD_BYTES])
    if count != segments or count > _MOST_SEGMENTS:
        raise UnreadableInstance(
            Reason.MALFORMED, "an RLE frame and the header disagree on the bytes of a pixel"
        )
    bounds = [*starts[:count], len(source)]
    if bounds != sorted(bounds) or bounds[0] < _HEAD_BYTES:
        raise UnreadableInstance(Reason.UNDECODABLE, "an RLE frame whose segments overlap")
    planes = np.empty((segments, length), dtype=np.uint8)
    for plane, begin, end in zip(planes, bounds, bounds[1:], strict=False):
        plane[:] = np.frombuffer(_unpacked(source[begin:end], length), dtype=np.uint8, count=length)
    return planes


def _unpacked(packed: bytes, length: int) -> bytearray:
    """Undo PackBits until `length` bytes are there; a segment may be padded behind them."""
    # The worst encoder spends two bytes for one. More is a file of no-ops made to keep us busy.
    if len(packed) > 2 * length + _HEAD_BYTES:
        raise UnreadableInstance(Reason.MALFORMED, "an RLE segment larger than its pixels")
    unpacked = bytearray()
    position, end = 0, len(packed)
    while position < end and len(unpacked) < length:
        control = packed[position]
        if control < 128:
            unpacked += packed[position + 1 : position + control + 2]
            position += control + 2
        elif control > 128:
            unpacked += packed[position + 1 : position + 2] * (257 - control)
            position += 2
        else:
            position += 1
    if len(unpacked) < length:
        raise UnreadableInstance(Reason.PIXELS_SHORT, "an RLE segment decodes to too few bytes")
    return unpacked
