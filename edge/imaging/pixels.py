"""An instance's pixels in the units of its modality.

Runs in the worker: native decoders may crash on hostile bytes, and this is where they are called.

What is decided here:

- CT pixels are Hounsfield units. A CT without Rescale Slope and Intercept is refused, because a
  model would read its stored values as if they were.
- MONOCHROME1 of a projection modality (radiography, mammography, angiography) is turned around
  within its range, so that larger is brighter in every projection image. In other modalities the
  pixels measure something and stay as they are, however they are meant to be shown.
- Pixel padding becomes -1024 in CT, darker than air, and the smallest real value elsewhere. NaN
  and infinite float pixels count as padding. No HU stays below -1024: outside the field of view
  scanners write -2000 or -3024 without declaring it, and lossy compression blurs even what they
  declare.
- Colour becomes luminance.

Sources: DICOM PS3.3 C.7.5.1.1.2 (padding), C.7.6.3 (image pixel), C.7.6.16.2 (functional groups),
C.11.1 (modality LUT), C.11.2 (VOI LUT).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.imaging import description, frames, groups, lookup, plane
from edge.imaging.attributes import Attributes
from edge.imaging.bounds import Limits, Reason, UnreadableInstance
from edge.imaging.description import PixelDescription, describe_pixels
from edge.imaging.frames import Stored, stored_frames
from edge.imaging.geometry import slice_position
from edge.imaging.groups import FrameScope, frame_scopes
from edge.imaging.lookup import look_of, modality_transform
from edge.imaging.part10 import PIXELS, open_part10
from edge.imaging.voi import Plane, Table, Window, render

__all__ = ["Limits", "Reason", "Slice", "UnreadableInstance", "decode", "voi"]

PADDING_HU = -1024.0
"""What padding of a CT becomes: below air (-1000), the floor of the usual 12-bit scale."""

_MODALITY = 0x00080060
_PADDING = 0x00280120
_PADDING_LIMIT = 0x00280121
_WANTED = frozenset({_MODALITY, _PADDING, _PADDING_LIMIT}).union(
    description.WANTED, frames.WANTED, groups.WANTED, lookup.WANTED, plane.WANTED
)
_PROJECTIONS = frozenset({"CR", "DX", "DR", "RG", "MG", "RF", "XA", "IO", "PX"})


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One frame, ready for `edge.imaging.prepare`.

    Parameters
    ----------
    position_mm : float or None
        Along the slice normal; None where the header gives no usable plane.
    pixels : float32 (rows, columns)
        In modality units, HU for CT; finite.
    frame : int
        Counted from 0.
    spacing : (float, float) or None
        Distance of rows, then of columns, in mm.
    look : Window, Table or None
        How its maker meant it to be shown; see `voi`.
    mirror : float or None
        Where MONOCHROME1 was turned around: ``pixel = mirror - value in modality units``.
    position : tuple of 3 float, or None
        Centre of the first pixel in the patient, in mm (PS3.3 C.7.6.2.1.1).
    orientation : tuple of 6 float, or None
        Direction cosines of a row and of a column.
    """

    position_mm: float | None
    pixels: Plane
    frame: int
    spacing: tuple[float, float] | None
    look: Window | Table | None
    mirror: float | None
    position: tuple[float, float, float] | None = None
    orientation: tuple[float, float, float, float, float, float] | None = None


def decode(data: bytes, *, limits: Limits) -> tuple[Slice, ...]:
    """Decode every frame of a DICOM Part 10 instance.

    Parameters
    ----------
    data : bytes
        Preamble, file meta and data set.
    limits : Limits
        What may be read at all; checked before anything is allocated.

    Returns
    -------
    tuple of Slice
        In the order of the frames.

    Raises
    ------
    UnreadableInstance
        If it is no readable DICOM, has no pixels, is in an unsupported syntax or format, is
        damaged, or is over a limit.
    """
    part10 = open_part10(data, limits=limits, wanted=_WANTED)
    attributes = Attributes.of(part10)
    described = describe_pixels(attributes, part10.syntax, limits)
    if described is None:
        raise UnreadableInstance(Reason.NO_PIXELS, "no pixel data")
    samples = described.rows * described.columns * described.samples * described.frames
    if samples > limits.max_samples:
        raise UnreadableInstance(
            Reason.TOO_LARGE, f"more than {limits.max_samples} samples in all frames together"
        )
    stored = stored_frames(attributes, described, part10.syntax)
    return tuple(
        _slice(index, one, scope, attributes, described)
        for (index, one), scope in zip(enumerate(stored), frame_scopes(attributes), strict=False)
    )


def voi(one: Slice) -> Plane:
    """Return a frame's brightness, float32 (rows, columns) from 0 to 1, as its maker meant it.

    For modalities without a unit of their own: the VOI table or window of the image, and without
    one its percentiles. Larger is brighter, MONOCHROME1 or not.
    """
    return render(one.pixels, one.look, mirror=one.mirror)


def _slice(
    index: int,
    stored: Stored,
    scope: FrameScope,
    attributes: Attributes,
    described: PixelDescription,
) -> Slice:
    modality = attributes.code(_MODALITY)
    transform = modality_transform(
        scope,
        signed=described.signed,
        hounsfield=modality == "CT" and described.tag == PIXELS and described.samples == 1,
    )
    with np.errstate(over="ignore", invalid="ignore"):
        pixels = transform.apply(stored)
    mirror = None
    if described.photometric == "MONOCHROME1" and modality in _PROJECTIONS:
        mirror = sum(transform.ends(*_range(described)))
        pixels = np.float32(mirror) - pixels
    padded = _padded(stored, attributes, described) | ~np.isfinite(pixels)
    if padded.any():
        pixels[padded] = _floor(pixels[~padded], modality)
    if modality == "CT":
        np.maximum(pixels, np.float32(PADDING_HU), out=pixels)
    position, orientation = plane.position_of(scope), plane.orientation_of(scope)
    return Slice(
        position_mm=slice_position(position, orientation) if position and orientation else None,
        pixels=pixels,
        frame=index,
        spacing=plane.pixel_spacing_of(scope),
        look=look_of(scope, transform, signed=described.signed),
        mirror=mirror,
        position=position,
        orientation=orientation,
    )


def _range(described: PixelDescription) -> tuple[int, int]:
    """Return the smallest and the largest value that the stored bits can hold."""
    half = 1 << (described.stored - 1)
    return (-half, half - 1) if described.signed else (0, 2 * half - 1)


def _padded(
    stored: Stored, attributes: Attributes, described: PixelDescription
) -> NDArray[np.bool_]:
    """Return which stored values are padding, a value or a range of values."""
    value = attributes.shorts(_PADDING, signed=described.signed)
    if not value or described.tag != PIXELS or described.samples != 1:
        return np.zeros(stored.shape, dtype=np.bool_)
    end = attributes.shorts(_PADDING_LIMIT, signed=described.signed) or value
    low, high = sorted((value[0], end[0]))
    return (stored >= low) & (stored <= high)


def _floor(real: NDArray[np.float32], modality: str) -> float:
    if modality == "CT":
        return PADDING_HU
    return float(real.min()) if real.size else 0.0
