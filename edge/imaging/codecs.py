"""One compressed frame to its samples.

The native decoders are loaded when the first frame that needs them comes, in the worker and never
in the daemon. Before one is called, the size that the codestream itself claims is compared with
what the header says: a decoder would allocate whatever the codestream claims.

========================= ===================== ============
transfer syntaxes         decoder               licence
========================= ===================== ============
JPEG (all processes)      GDCM                  BSD-3-Clause
JPEG-LS                   CharLS via pyjpegls   MIT (CharLS: BSD-3-Clause)
JPEG 2000, HTJ2K          OpenJPEG via          MIT (OpenJPEG: BSD-2-Clause)
                          pylibjpeg-openjpeg
RLE                       pylibjpeg-rle         MIT
========================= ===================== ============

Sources: DICOM PS3.5 A.4 and 8.2 (encapsulated syntaxes), ITU-T T.81 B.2.2 (JPEG frame header),
T.87 C.2.2 (JPEG-LS), T.800 A.5.1 (JPEG 2000 SIZ).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.imaging.bounds import Reason, UnreadableInstance
from edge.imaging.description import PixelDescription

Samples = NDArray[Any]
"""Integers (rows, columns, samples)."""

_BASELINE, _EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
_LOSSLESS, _LOSSLESS_FIRST = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
_NAMES = {
    "1.2.840.10008.1.2.4.92": "JPEG 2000 multi-component",
    "1.2.840.10008.1.2.4.93": "JPEG 2000 multi-component",
    "1.2.840.10008.1.2.4.94": "JPIP",
    "1.2.840.10008.1.2.4.95": "JPIP",
    "1.2.840.10008.1.2.4.110": "JPEG XL",
    "1.2.840.10008.1.2.4.111": "JPEG XL",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "deflated image frames",
}
_VIDEO = "1.2.840.10008.1.2.4.10"

# What the decoders raise on bytes they do not understand. Each is a C or Rust library behind a
# thin binding that lets whatever happened through.
_DECODER_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError)


def decode_frame(source: bytes, syntax: str, described: PixelDescription) -> Samples:
    """Decode one compressed frame.

    Parameters
    ----------
    source : bytes
        The frame's fragments, joined.
    syntax : str
        Transfer Syntax UID.
    described : PixelDescription
        What the header says of the frame.

    Returns
    -------
    integer (rows, columns, samples)
        Raw samples: sign and unused bits are still as the codestream has them.

    Raises
    ------
    UnreadableInstance
        If the syntax is unsupported, the codestream contradicts the header, or cannot be decoded.
    """
    decoder = _DECODERS.get(syntax)
    if decoder is None:
        name = "video" if syntax.startswith(_VIDEO) else _NAMES.get(syntax, "unknown")
        raise UnreadableInstance(
            Reason.UNSUPPORTED, f"no decoder for its transfer syntax ({name}); send it uncompressed"
        )
    try:
        frame = decoder(source, described)
    except UnreadableInstance:
        raise
    except _DECODER_ERRORS as error:
        raise UnreadableInstance(
            Reason.UNDECODABLE, "a compressed frame is damaged or cut short"
        ) from error
    return frame


def _jpeg(source: bytes, described: PixelDescription) -> Samples:
    gdcm = _gdcm()
    precision = _claimed_by_jpeg(source, described)
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(source)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((described.columns, described.rows, 1))
    image.SetDataElement(element)
    interpretation = gdcm.PhotometricInterpretation.GetPIType(described.photometric)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(interpretation))
    if described.samples > 1:
        image.SetPlanarConfiguration(0)
    # GDCM has libjpeg built for 8, 12 and 16 bits and picks one by bits allocated, so the
    # codestream's precision decides, not the header's container.
    built_for = 8 if precision <= 8 else 12 if precision <= 12 else 16
    image.SetTransferSyntax(gdcm.TransferSyntax(_jpeg_process(gdcm, source)))
    image.SetPixelFormat(
        gdcm.PixelFormat(described.samples, built_for, precision, precision - 1, 0)
    )
    text = image.GetBuffer()
    if text is None:
        raise UnreadableInstance(Reason.UNDECODABLE, "a JPEG frame is damaged or cut short")
    # The binding returns bytes as text with surrogates.
    return _shaped(text.encode("utf-8", "surrogateescape"), 1 if built_for == 8 else 2, described)


def _jpeg_ls(source: bytes, described: PixelDescription) -> Samples:
    decode_pixel_data = _native("jpeg_ls").decode_pixel_data
    precision = _claimed_by_jpeg(source, described)
    try:
        buffer, info = decode_pixel_data(source)
    except RuntimeError:
        # Some encoders pad the bit stream with a zero byte; CharLS since 2.3 stops at it.
        end = source.rfind(b"\x00\xff\xd9")
        if end < 0:
            raise
        buffer, info = decode_pixel_data(source[:end] + source[end + 1 :])
    size = 1 if precision <= 8 else 2
    by_plane = described.samples > 1 and info["interleave_mode"] == 0
    return _shaped(bytes(buffer), size, described, by_plane=by_plane)


def _jpeg_2000(source: bytes, described: PixelDescription) -> Samples:
    _claimed_by_jpeg_2000(source, described)
    boxed = not source.startswith(b"\xff\x4f\xff\x51")
    frame: Samples = _native("openjpeg").decode(source, j2k_format=2 if boxed else 0)
    return frame.reshape(described.rows, described.columns, described.samples)


def _rle(source: bytes, described: PixelDescription) -> Samples:
    if described.allocated % 8:
        raise UnreadableInstance(Reason.UNSUPPORTED, "RLE of pixels that are not whole bytes")
    pixels = described.rows * described.columns
    buffer = _native("rle.rle").decode_frame(source, pixels, described.allocated, "<")
    return _shaped(bytes(buffer), described.allocated // 8, described, by_plane=True)


_DECODERS: dict[str, Callable[[bytes, PixelDescription], Samples]] = {
    _BASELINE: _jpeg,
    _EXTENDED: _jpeg,
    _LOSSLESS: _jpeg,
    _LOSSLESS_FIRST: _jpeg,
    "1.2.840.10008.1.2.4.80": _jpeg_ls,
    "1.2.840.10008.1.2.4.81": _jpeg_ls,
    "1.2.840.10008.1.2.4.90": _jpeg_2000,
    "1.2.840.10008.1.2.4.91": _jpeg_2000,
    "1.2.840.10008.1.2.4.201": _jpeg_2000,
    "1.2.840.10008.1.2.4.202": _jpeg_2000,
    "1.2.840.10008.1.2.4.203": _jpeg_2000,
    "1.2.840.10008.1.2.5": _rle,
}


def _shaped(
    buffer: bytes, size: int, described: PixelDescription, *, by_plane: bool = False
) -> Samples:
    """Return little-endian samples of `size` bytes as (rows, columns, samples)."""
    count = described.rows * described.columns * described.samples
    if len(buffer) < count * size:
        raise UnreadableInstance(Reason.PIXELS_SHORT, "a frame decodes to too few pixels")
    flat = np.frombuffer(buffer, dtype=f"<u{size}", count=count)
    if by_plane:
        planes = flat.reshape(described.samples, described.rows, described.columns)
        return np.moveaxis(planes, 0, -1)
    return flat.reshape(described.rows, described.columns, described.samples)


def _sof(source: bytes) -> tuple[int, int]:
    """Return the marker and the position of the JPEG or JPEG-LS frame header (T.81 B.1.1)."""
    position = 2
    while source[position : position + 1] == b"\xff" and position + 4 <= len(source):
        marker = source[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        # SOF0 to SOF15 less DHT, JPG and DAC; SOF55 is JPEG-LS.
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return marker, position
        position += 2 + int.from_bytes(source[position + 2 : position + 4], "big")
    raise UnreadableInstance(Reason.UNDECODABLE, "a JPEG frame without its frame header")


def _claimed_by_jpeg(source: bytes, described: PixelDescription) -> int:
    """Check a JPEG or JPEG-LS frame header against the data set; return its precision."""
    _, position = _sof(source)
    head = source[position + 4 : position + 10]
    if len(head) < 6:
        raise UnreadableInstance(Reason.UNDECODABLE, "a JPEG frame header is cut short")
    precision, rows, columns, components = struct.unpack(">BHHB", head)
    _agree(rows, columns, components, described)
    if not 2 <= precision <= 16:
        raise UnreadableInstance(Reason.UNDECODABLE, "a JPEG frame of impossible precision")
    return int(precision)


def _claimed_by_jpeg_2000(source: bytes, described: PixelDescription) -> None:
    start = source.find(b"\xff\x4f\xff\x51", 0, 4096)
    head = source[start + 8 : start + 42] if start >= 0 else b""
    if len(head) < 34:
        raise UnreadableInstance(Reason.UNDECODABLE, "a JPEG 2000 frame without its size")
    right, bottom, left, top, *_, components = struct.unpack(">8LH", head)
    _agree(bottom - top, right - left, components, described)


def _agree(rows: int, columns: int, components: int, described: PixelDescription) -> None:
    said = (described.rows, described.columns, described.samples)
    if (rows, columns, components) != said:
        raise UnreadableInstance(
            Reason.MALFORMED, "a compressed frame and the header disagree on its size"
        )


def _jpeg_process(gdcm: ModuleType, source: bytes) -> int:
    """Return GDCM's transfer syntax for what the frame header says it is, not the file meta."""
    syntax = gdcm.TransferSyntax
    marker, _ = _sof(source)
    if marker == 0xC3:
        process: int = syntax.JPEGLosslessProcess14
    else:
        process = syntax.JPEGBaselineProcess1 if marker == 0xC0 else syntax.JPEGExtendedProcess2_4
    return process


@cache
def _native(name: str) -> ModuleType:
    """Load a native decoder when it is first needed, so that the daemon never does."""
    return import_module(name)


@cache
def _gdcm() -> ModuleType:
    gdcm = _native("gdcm")
    # GDCM writes what it thinks of a file to stderr, values included.
    for silence in ("DebugOff", "WarningOff", "ErrorOff"):
        getattr(gdcm.Trace, silence)()
    return gdcm
