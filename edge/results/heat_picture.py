"""A key image as a picture with its heatmap, for viewers that show pictures alone. Pure.

The image with its own window, over it where the evidence lies, yellow to red as on the console, and
a line around where it is more than half of the most. What must be read with it stands below, beside
no anatomy, and is part of the pixels: a picture can be copied without its header.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.imaging.pixels import Slice, voi
from edge.imaging.plane import edges_of

Picture = NDArray[np.uint8]

_SMALLEST, _LARGEST = 512, 1024  # pixels of the longer side
_STRENGTH = 0.55  # of the colour where there is most evidence
_INSIDE = 128  # of 255: within the line
_YELLOW, _BLACK, _WHITE = (255, 225, 77), (0, 0, 0), (235, 235, 235)
_FONT, _FONT_SIZE, _LINE, _MARGIN = cv2.FONT_HERSHEY_SIMPLEX, 0.5, 20, 10
_LETTER = 9.2  # pixels that one takes on average


def picture(image: Slice, heat: NDArray[np.uint8], words: Sequence[str]) -> Picture:
    """Return the picture.

    Parameters
    ----------
    image : Slice
        The key image.
    heat : uint8 (height, width)
        Spread over the whole image; 255 where there is most evidence.
    words : sequence of str
        What stands below, line by line; letters beyond ASCII become question marks.

    Returns
    -------
    uint8 (rows, columns, 3)
        RGB.
    """
    rows, columns = _size(image)
    grey = cv2.resize(voi(image), (columns, rows), interpolation=_way(image, rows))
    over = cv2.resize(heat, (columns, rows), interpolation=cv2.INTER_CUBIC)
    shown = _coloured(np.rint(grey * 255).clip(0, 255).astype(np.uint8), over)
    _outline(shown, over)
    canvas = _centred(shown)
    if image.orientation is not None:
        _letters(canvas, edges_of(image.orientation))
    return np.vstack([canvas, _caption(words, canvas.shape[1])])


def _size(image: Slice) -> tuple[int, int]:
    """Return rows and columns of the picture, with pixels as square as in the patient."""
    tall, wide = (float(side) for side in image.pixels.shape)
    if image.spacing is not None:
        tall, wide = tall * image.spacing[0], wide * image.spacing[1]
    longest = min(max(*image.pixels.shape, _SMALLEST), _LARGEST)
    scale = longest / max(tall, wide)
    return max(1, round(tall * scale)), max(1, round(wide * scale))


def _way(image: Slice, rows: int) -> int:
    return cv2.INTER_AREA if rows < image.pixels.shape[0] else cv2.INTER_LINEAR


def _coloured(grey: Picture, heat: Picture) -> Picture:
    share = (heat.astype(np.float32) / 255.0)[..., None]
    colour = np.concatenate(
        [np.full_like(share, 255.0), 210.0 - 170.0 * share, np.full_like(share, 40.0)], axis=2
    )
    plain = np.repeat(grey[..., None], 3, axis=2).astype(np.float32)
    mixed = plain + (colour - plain) * (_STRENGTH * share)
    coloured: Picture = np.rint(mixed).astype(np.uint8)
    return coloured


def _outline(shown: Picture, heat: Picture) -> None:
    inside = (heat >= _INSIDE).astype(np.uint8)
    lines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown, lines, -1, _BLACK, 3)
    cv2.drawContours(shown, lines, -1, _YELLOW, 1)


def _centred(shown: Picture) -> Picture:
    """Return the picture on a canvas that is wide enough for the words below."""
    missing = max(0, _SMALLEST - shown.shape[1])
    sides = ((0, 0), (missing // 2, missing - missing // 2), (0, 0))
    return np.ascontiguousarray(np.pad(shown, sides))


def _letters(canvas: Picture, edges: tuple[str, str, str, str]) -> None:
    """Write which side of the patient is where: left, right, top, bottom."""
    rows, columns = canvas.shape[:2]
    places = (
        (4, rows // 2),
        (columns - 16, rows // 2),
        (columns // 2, 16),
        (columns // 2, rows - 6),
    )
    for letter, place in zip(edges, places, strict=True):
        cv2.putText(canvas, letter, place, _FONT, _FONT_SIZE, _BLACK, 4, cv2.LINE_AA)
        cv2.putText(canvas, letter, place, _FONT, _FONT_SIZE, _WHITE, 1, cv2.LINE_AA)


def _caption(words: Sequence[str], columns: int) -> Picture:
    letters = int((columns - 2 * _MARGIN) / _LETTER)
    lines = [line for one in words for line in textwrap.wrap(_plain(one), letters)]
    strip: Picture = np.zeros((_LINE * len(lines) + 2 * _MARGIN, columns, 3), np.uint8)
    for number, line in enumerate(lines, start=1):
        place = (_MARGIN, _MARGIN + _LINE * number - 6)
        cv2.putText(strip, line, place, _FONT, _FONT_SIZE, _WHITE, 1, cv2.LINE_AA)
    return strip


def _plain(text: str) -> str:
    return text.encode("ascii", "replace").decode()
