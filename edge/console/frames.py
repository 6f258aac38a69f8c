"""A frame as the browser gets it: whole numbers, packed so that they travel and unpack quickly.

Each row is written as differences of neighbours, all low bytes before all high bytes, and the
whole is gzip with run lengths and Huffman codes alone. On CT that is about half the size at
a tenth of the time of usual compression, and the browser unpacks the gzip by itself.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.imaging.pixels import Slice, voi
from edge.imaging.plane import edges_of
from edge.imaging.voi import Table, Window

LARGEST = 2048  # rows or columns; a screen shows no more of a radiograph
_STEPS = 4095  # of brightness, where the values have no unit of their own
_GZIP = 31  # zlib's window bits for gzip framing


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """What goes with the pixels of a frame.

    Parameters
    ----------
    rows, columns : int
    frames : int
        Of the instance.
    slope, intercept : float
        From the numbers sent to the modality's units.
    level, width : float
        The window to begin with, in the modality's units.
    spacing : (float, float) or None
        Distance of rows, then of columns, in mm, as sent.
    position : float or None
        Along the slice normal, in mm.
    edges : (str, str, str, str) or None
        Which side of the patient is at the left, right, top and bottom edge: R, L, A, P, H or F
        (PS3.3 C.7.6.1.1.1); None where the image does not say how it lies.
    reduced : bool
        Whether it was made smaller.
    """

    rows: int
    columns: int
    frames: int
    slope: float
    intercept: float
    level: float
    width: float
    spacing: tuple[float, float] | None
    position: float | None
    edges: tuple[str, str, str, str] | None
    reduced: bool

    def to_json(self) -> str:
        """Return it for the browser."""
        return json.dumps(asdict(self), separators=(",", ":"), allow_nan=False)


def frame_of(one: Slice, frames: int) -> tuple[FrameFacts, bytes]:
    """Return a decoded frame's facts and packed pixels.

    Parameters
    ----------
    one : Slice
    frames : int
        How many the instance has.
    """
    pixels, reduced = _fitted(one.pixels)
    if isinstance(one.look, Table):
        pixels, _ = _fitted(voi(one) * np.float32(_STEPS))
        level, width = _STEPS / 2, float(_STEPS)
    else:
        level, width = _window(one, pixels)
    numbers, slope, intercept = _whole(pixels)
    rows, columns = numbers.shape
    scale = one.pixels.shape[0] / rows
    facts = FrameFacts(
        rows=rows,
        columns=columns,
        frames=frames,
        slope=slope,
        intercept=intercept,
        level=level,
        width=width,
        spacing=None if one.spacing is None else (one.spacing[0] * scale, one.spacing[1] * scale),
        position=one.position_mm,
        edges=None if one.orientation is None else edges_of(one.orientation),
        reduced=reduced,
    )
    return facts, pack(numbers)


def pack(numbers: NDArray[np.int16]) -> bytes:
    """Return packed pixels; `unpack` and ``static/frames.js`` undo it.

    Parameters
    ----------
    numbers : int16 (rows, columns)
    """
    steps = numbers.astype(np.uint16)
    steps[:, 1:] -= steps[:, :-1].copy()
    planes = np.stack([steps & 0xFF, steps >> 8]).astype(np.uint8)
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP, 9, zlib.Z_RLE)
    return packer.compress(planes.tobytes()) + packer.flush()


def unpack(packed: bytes, rows: int, columns: int) -> NDArray[np.int16]:
    """Return the pixels that `pack` packed, int16 (rows, columns)."""
    planes = np.frombuffer(zlib.decompress(packed, _GZIP), np.uint8).reshape(2, rows, columns)
    steps = planes[0] | planes[1].astype(np.uint16) << 8
    return np.cumsum(steps, axis=1, dtype=np.uint16).astype(np.int16)


def _fitted(pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], bool]:
    rows, columns = pixels.shape
    scale = LARGEST / max(rows, columns)
    if scale >= 1:
        return pixels, False
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    smaller: NDArray[np.float32] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return smaller, True


def _window(one: Slice, pixels: NDArray[np.float32]) -> tuple[float, float]:
    """Return level and width as the image's maker meant, or from what is in it."""
    if isinstance(one.look, Window):
        level = one.look.level if one.mirror is None else one.mirror - one.look.level
        return level, one.look.width
    low, high = (float(value) for value in np.percentile(pixels, (0.5, 99.5)))
    return (low + high) / 2, max(1e-6, high - low)


def _whole(pixels: NDArray[np.float32]) -> tuple[NDArray[np.int16], float, float]:
    """Return int16 numbers with slope and intercept; whole values stay exactly what they are."""
    low, high = float(pixels.min()), float(pixels.max())
    if low >= -32768 and high <= 32767 and bool((pixels == np.rint(pixels)).all()):
        return pixels.astype(np.int16), 1.0, 0.0
    slope = max(high - low, 1e-30) / 65535
    intercept = low + 32768 * slope
    numbers = np.rint((pixels.astype(np.float64) - intercept) / slope)
    return np.clip(numbers, -32768, 32767).astype(np.int16), slope, intercept
