"""One compressed frame to its samples.

The native decoders are loaded when the first frame that needs them comes, in the worker and never
in the daemon. Before one is called, the size that the codestream itself claims is compared with
what the header says.

========================= ===================== ============
transfer syntaxes         decoder               licence
========================= ===================== ============
JPEG (all processes)      GDCM                  BSD-3-Clause
JPEG-LS                   CharLS via pyjpegls   MIT (CharLS: BSD-3-Clause)
JPEG 2000, HTJ2K          OpenJPEG via          MIT (OpenJPEG: BSD-2-Clause)
                          pylibjpeg-openjpeg
RLE                       `edge.imaging.rle`    ours
========================= ===================== ============

Source: DICOM PS3.5 A.4 and 8.2 (encapsulated syntaxes).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.imaging import rle
from edge.imaging.bounds import Reason, UnreadableInstance
from edge.imaging.codestream import BASELINE, LOSSLESS, Claim, jpeg_2000_claim, jpeg_claim
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
_JPEG_COLOURS = frozenset({"MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422"})
_VIDEO = "1.2.840.10008.1.2.4.10"

# What the decoders raise on bytes they do not understand. Each is a C or C++ library behind a thin
# binding that lets whatever happened through.
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
    claim = jpeg_claim(source)
    _agree(claim, described)
    interpretation = "MONOCHROME2" if described.samples == 1 else described.photometric
    if interpretation not in _JPEG_COLOURS:
        raise UnreadableInstance(Reason.UNSUPPORTED, "JPEG colour that is neither RGB nor YBR_FULL")
    gdcm = _gdcm()
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
    image.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.GetPIType(interpretation))
    )
    if described.samples > 1:
        image.SetPlanarConfiguration(0)
    # GDCM has libjpeg built for 8, 12 and 16 bits and picks one by bits allocated, so the
    # codestream's precision decides, not the header's container.
    bits = claim.precision
    built_for = 8 if bits <= 8 else 12 if bits <= 12 else 16
    # The process is the codestream's too: some senders name another in the file meta.
    processes = {
        BASELINE: gdcm.TransferSyntax.JPEGBaselineProcess1,
        LOSSLESS: gdcm.TransferSyntax.JPEGLosslessProcess14,
    }
    process = processes.get(claim.process, gdcm.TransferSyntax.JPEGExtendedProcess2_4)
    image.SetTransferSyntax(gdcm.TransferSyntax(process))
    image.SetPixelFormat(gdcm.PixelFormat(described.samples, built_for, bits, bits - 1, 0))
    text = image.GetBuffer()
    if text is None:
        raise UnreadableInstance(Reason.UNDECODABLE, "a JPEG frame is damaged or cut short")
    # The binding returns bytes as text with surrogates.
    return _shaped(text.encode("utf-8", "surrogateescape"), 1 if built_for == 8 else 2, described)


def _jpeg_ls(source: bytes, described: PixelDescription) -> Samples:
    decode_pixel_data = _native("jpeg_ls").decode_pixel_data
    claim = jpeg_claim(source)
    _agree(claim, described)
    try:
        buffer, info = decode_pixel_data(source)
    except RuntimeError:
        # Some encoders pad the bit stream with a zero byte; CharLS since 2.3 stops at it.
        end = source.rfind(b"\x00\xff\xd9")
        if end < 0:
            raise
        buffer, info = decode_pixel_data(source[:end] + source[end + 1 :])
    size = 1 if claim.precision <= 8 else 2
    by_plane = described.samples > 1 and info["interleave_mode"] == 0
    return _shaped(bytes(buffer), size, described, by_plane=by_plane)


def _jpeg_2000(source: bytes, described: PixelDescription) -> Samples:
    _agree(jpeg_2000_claim(source), described)
    boxed = not source.startswith(b"\xff\x4f\xff\x51")
    frame: Samples = _native("openjpeg").decode(source, j2k_format=2 if boxed else 0)
    return frame.reshape(described.rows, described.columns, described.samples)


def _rle(source: bytes, described: PixelDescription) -> Samples:
    if described.allocated % 8:
        raise UnreadableInstance(Reason.UNSUPPORTED, "RLE of pixels that are not whole bytes")
    pixels, size = described.rows * described.columns, described.allocated // 8
    planes = rle.decode(source, segments=described.samples * size, length=pixels)
    # Segments hold the most significant byte of a sample first.
    ordered = planes.reshape(described.samples, size, pixels)[:, ::-1]
    buffer = np.ascontiguousarray(np.moveaxis(ordered, 1, -1)).tobytes()
    return _shaped(buffer, size, described, by_plane=True)


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


def _agree(claim: Claim, described: PixelDescription) -> None:
    said = (described.rows, described.columns, described.samples)
    if (claim.rows, claim.columns, claim.components) != said:
        raise UnreadableInstance(
            Reason.MALFORMED, "a compressed frame and the header disagree on its size"
        )
    # Twelve bits under a header that says sixteen are met in service; fewer than eight are damage.
    if claim.process and claim.precision < min(described.stored, 8):
        raise UnreadableInstance(
            Reason.MALFORMED, "a compressed frame and the header disagree on its precision"
        )


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
