"""Which pictures look alike, where nobody wrote down whose they are.

A collection without patients holds neighbouring slices and outright copies; divided picture by
picture, they would stand on both sides and flatter every figure. Pictures whose perceptual hashes
(the signs of the lowest frequencies of the discrete cosine transform; Zauner, 2010) differ in few
bits are put into one group, and so are those they are linked to in turn.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.train.examples import Examples

_GRID, _KEPT = 32, 16
_ALIKE_BITS = 40  # of 255; unrelated pictures differ in 128 on average


def hashes(examples: Examples) -> NDArray[np.int8]:
    """Return each picture's hash, +1 and -1, shape (n, 255)."""
    found = []
    for image in examples.image[:, 0]:
        small = cv2.resize(image.astype(np.float32), (_GRID, _GRID), interpolation=cv2.INTER_AREA)
        low = cv2.dct(small)[:_KEPT, :_KEPT].flatten()[1:]  # without the mean brightness
        found.append(np.where(low > np.median(low), 1, -1))
    return np.asarray(found, np.int8)


def groups(examples: Examples, *, bits: int = _ALIKE_BITS) -> NDArray[np.str_]:
    """Return a group's name for each picture, shape (n,); linked pictures share one."""
    marks = hashes(examples).astype(np.float32)
    parent = np.arange(len(marks))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = int(parent[place])
        return place

    least = marks.shape[1] - 2 * bits  # the dot product of hashes that differ in `bits`
    for start in range(0, len(marks), 512):
        alike = marks[start : start + 512] @ marks.T >= least
        for here, there in zip(*np.nonzero(alike), strict=True):
            a, b = root(start + int(here)), root(int(there))
            if a != b:
                parent[max(a, b)] = min(a, b)
    return np.asarray([f"{root(place):06d}" for place in range(len(marks))])
