"""What an instance says its pixels look like, and whether enough of them are there.

Source: DICOM PS3.3 C.7.6.3 (image pixel), PS3.5 8 (encoding of pixel data).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge.imaging.attributes import Attributes
from edge.imaging.bounds import Limits, Reason, UnreadableInstance
from edge.imaging.part10 import DOUBLE_PIXELS, FLOAT_PIXELS, NATIVE, PIXELS, Span

_SAMPLES = 0x00280002
_PHOTOMETRIC = 0x00280004
_PLANAR = 0x00280006
_FRAMES = 0x00280008
_ROWS = 0x00280010
_COLUMNS = 0x00280011
_BITS_ALLOCATED = 0x00280100
_BITS_STORED = 0x00280101
_HIGH_BIT = 0x00280102
_REPRESENTATION = 0x00280103

WANTED = frozenset(
    {_SAMPLES, _PHOTOMETRIC, _PLANAR, _FRAMES, _ROWS, _COLUMNS, _BITS_ALLOCATED, _BITS_STORED}
    | {_HIGH_BIT, _REPRESENTATION, PIXELS, FLOAT_PIXELS, DOUBLE_PIXELS}
)
"""The tags that `describe_pixels` reads."""


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """The image pixel module of one instance.

    Parameters
    ----------
    rows, columns, frames : int
        All above zero and within the limits.
    samples : int
        Samples per pixel.
    photometric : str
        Photometric Interpretation, upper-cased.
    allocated, stored, high : int
        Bits Allocated, Bits Stored, High Bit.
    signed : bool
        Whether stored values are two's complement.
    planar : bool
        Whether colour is stored by plane.
    tag : int
        The element that holds the pixels.
    span : Span
        Where they lie; within the bytes at hand.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    high: int
    signed: bool
    planar: bool
    tag: int
    span: Span

    @property
    def frame_bits(self) -> int:
        """Bits of one unencapsulated frame; frames follow one another without padding."""
        return self.rows * self.columns * self._samples_on_disk * self.allocated

    @property
    def halved_colour(self) -> bool:
        """Whether two pixels share one pair of chrominance (PS3.3 C.7.6.3.1.2)."""
        return self.samples == 3 and self.photometric == "YBR_FULL_422"

    @property
    def _samples_on_disk(self) -> int:
        return 2 if self.halved_colour else self.samples


def describe_pixels(attributes: Attributes, syntax: str, limits: Limits) -> PixelDescription | None:
    """Return what the pixels look like, or None if the instance has none.

    Raises
    ------
    UnreadableInstance
        If the description is incomplete or over a limit, the bytes end within the pixel data, or
        unencapsulated pixel data is shorter than the description says.
    """
    for tag in (PIXELS, FLOAT_PIXELS, DOUBLE_PIXELS):
        span = attributes.span(tag)
        if span is not None:
            break
    else:
        return None
    described = _described(attributes, tag, span)
    if described.rows > limits.max_rows or described.columns > limits.max_columns:
        raise UnreadableInstance(
            Reason.TOO_LARGE, f"a frame larger than {limits.max_rows} x {limits.max_columns} pixels"
        )
    if described.frames > limits.max_frames:
        raise UnreadableInstance(Reason.TOO_LARGE, f"more than {limits.max_frames} frames")
    _check_length(attributes, described, encapsulated=syntax not in NATIVE)
    return described


def _described(attributes: Attributes, tag: int, span: Span) -> PixelDescription:
    rows, columns = attributes.short(_ROWS), attributes.short(_COLUMNS)
    if not rows or not columns:
        raise UnreadableInstance(
            Reason.MISSING, "pixel data without Rows (0028,0010) and Columns (0028,0011)"
        )
    allocated = {FLOAT_PIXELS: 32, DOUBLE_PIXELS: 64}.get(tag)
    if allocated is None:
        allocated = attributes.short(_BITS_ALLOCATED)
    if not allocated:
        raise UnreadableInstance(Reason.MISSING, "pixel data without Bits Allocated (0028,0100)")
    stored = attributes.short(_BITS_STORED) or allocated
    high = attributes.short(_HIGH_BIT)
    return PixelDescription(
        rows=rows,
        columns=columns,
        frames=max(attributes.integer(_FRAMES) or 1, 1),
        samples=attributes.short(_SAMPLES) or 1,
        photometric=attributes.code(_PHOTOMETRIC),
        allocated=allocated,
        stored=stored,
        high=stored - 1 if high is None else high,
        signed=attributes.short(_REPRESENTATION) == 1,
        planar=attributes.short(_PLANAR) == 1,
        tag=tag,
        span=span,
    )


def _check_length(
    attributes: Attributes, described: PixelDescription, *, encapsulated: bool
) -> None:
    span = described.span
    if span.undefined != encapsulated:
        raise UnreadableInstance(
            Reason.MALFORMED, "the transfer syntax and the form of the pixel data disagree"
        )
    if encapsulated:
        # The first is the offset table (PS3.5 A.4).
        if not any(one.stop > one.start for one in attributes.walk.fragments(span)[1:]):
            raise UnreadableInstance(Reason.PIXELS_SHORT, "encapsulated pixel data without a frame")
        return
    end = len(attributes.walk.data)
    needed = math.ceil(described.frame_bits * described.frames / 8)
    if needed > min(span.stop, end) - span.start:
        raise UnreadableInstance(
            Reason.PIXELS_SHORT,
            "the pixel data is shorter than Rows, Columns, frames and bits say",
        )
    if span.stop > end:
        raise UnreadableInstance(Reason.TRUNCATED, "the bytes end within the pixel data")
