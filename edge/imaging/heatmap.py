"""From a model's activation map to a place in the image and in the patient.

Pure. The way of the pixels to the model (`edge.imaging.prepare`) is gone backwards: out of the
frame that was padded, out of the crop, to the image as the scanner made it. A cell of the map
stands for all the pixels it was computed from, so a place is good to about half a cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.imaging.pixels import Slice
from edge.imaging.prepare import fit, subject
from edge.imaging.spot import Spot
from engines import InputSpec

Plane = NDArray[np.float32]

_LONGEST = 128  # cells of a map are coarse: more pixels would say no more
_MIDDLE = 0.08  # of the subject's extent: nearer to its centre is neither side


@dataclass(frozen=True, slots=True, eq=False)
class Heatmap:
    """Where in an image the evidence lies.

    Parameters
    ----------
    values : uint8 (height, width)
        Spread over the whole image, 128 pixels at its longer side; 255 where there is most, 0 where
        there is no more than at half of all places.
    row, column : float
        Of the most, in pixels of the image.
    """

    values: NDArray[np.uint8]
    row: float
    column: float


def heatmap(activation: Plane, spec: InputSpec, image: Slice) -> Heatmap:
    """Return where the evidence lies in an image.

    Parameters
    ----------
    activation : float32 (h, w)
        Over the model's whole input.
    spec : InputSpec
        How the image became that input.
    image : Slice
        The image.
    """
    rows, columns = image.pixels.shape
    crop = (
        (slice(0, rows), slice(0, columns))
        if spec.crop_above is None
        else subject(image.pixels, spec.crop_above)
    )
    tall, wide = crop[0].stop - crop[0].start, crop[1].stop - crop[1].start
    spacing = image.spacing
    if spec.fit == "stretch":
        spacing = (spec.height / tall, spec.width / wide)
    fitted = fit((tall, wide), height=spec.height, width=spec.width, spacing=spacing)
    top, left = (spec.height - fitted[0]) // 2, (spec.width - fitted[1]) // 2
    over_input: Plane = cv2.resize(
        activation, (spec.width, spec.height), interpolation=cv2.INTER_LINEAR
    )
    shown = over_input[top : top + fitted[0], left : left + fitted[1]]
    most = np.unravel_index(int(shown.argmax()), shown.shape)
    return Heatmap(
        values=_spread(shown, crop, (rows, columns)),
        row=crop[0].start + (float(most[0]) + 0.5) * tall / fitted[0] - 0.5,
        column=crop[1].start + (float(most[1]) + 0.5) * wide / fitted[1] - 0.5,
    )


def _spread(shown: Plane, crop: tuple[slice, slice], shape: tuple[int, int]) -> NDArray[np.uint8]:
    low, high = float(np.median(shown)), float(shown.max())
    scale = _LONGEST / max(shape)
    size = [max(1, round(side * scale)) for side in shape]
    values = np.zeros(size, np.uint8)
    if high <= low:
        return values
    relative = np.clip((shown - low) / (high - low), 0, 1) * 255
    ends = [
        (round(part.start * scale), max(round(part.stop * scale), round(part.start * scale) + 1))
        for part in crop
    ]
    (top, bottom), (left, right) = ends
    inside = cv2.resize(relative, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    values[top:bottom, left:right] = np.rint(inside)[: size[0] - top, : size[1] - left]
    return values


def spot(row: float, column: float, image: Slice) -> Spot:
    """Return a place of an image in words and, where the image is placed, in the patient.

    Parameters
    ----------
    row, column : float
        In pixels, from the centre of the first.
    image : Slice
        The image.
    """
    down, right = _from_centre(row, column, image.pixels)
    if image.orientation is None:
        words = [_word(down, "lower", "upper"), _word(right, "right", "left")]
        return Spot(f"{' '.join(filter(None, words)) or 'middle'} of the image", None)
    along_row, along_column = np.array(image.orientation[:3]), np.array(image.orientation[3:])
    off = right * along_row + down * along_column
    sides = (
        _word(off[0], "left", "right"),
        _word(off[1], "back", "front"),
        _word(off[2], "upper", "lower"),
    )
    text = f"patient's {', '.join(filter(None, sides))}" if any(sides) else "middle of the image"
    if image.position is None or image.spacing is None:
        return Spot(text, None)
    place = (
        np.array(image.position)
        + along_row * column * image.spacing[1]
        + along_column * row * image.spacing[0]
    )
    x, y, z = (round(float(value), 1) for value in place)
    return Spot(text, (x, y, z))


def _from_centre(row: float, column: float, pixels: Plane) -> tuple[float, float]:
    """Return how far a place is from the middle of what is bright, in shares of its extent."""
    bright = (pixels > pixels.mean()).astype(np.uint8)
    left, top, wide, tall = cv2.boundingRect(bright)
    if not wide or not tall:
        return 0.0, 0.0
    return (row - top - tall / 2) / tall, (column - left - wide / 2) / wide


def _word(off: float, more: str, less: str) -> str:
    return "" if abs(off) < _MIDDLE else more if off > 0 else less
