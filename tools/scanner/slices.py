"""A CT series from head slices that were published as two 8-bit JPEG windows.

Each slice is a pair ``NN-brain.jpg`` and ``NN-bone.jpg``. Grey g of a window (level L, width W)
stands for HU = L - W/2 + g * W/255:

======  =====  =====  ==================  ============
window  level  width  covers              one grey step
======  =====  =====  ==================  ============
brain   40     120    -20 to 100 HU       0.47 HU
bone    700    3200   -900 to 2300 HU     12.5 HU
======  =====  =====  ==================  ============

What was found on the images: where both windows are unclipped and the picture is smooth, the
median bone grey at brain greys 40 to 220 agrees with these values within 0.5 grey in 65 of 66
patients. In one patient the bone image is 7 greys (90 HU) lower; `bone_shift` measures that and
it is taken out. Slice 1 is the base of the skull and the last slice the vertex. Numbers can be
missing inside a series; the gap is kept in the slice positions.

How HU is rebuilt:

- Brain grey 6 to 249 (-17 to 97 HU): the brain window alone, so its precision is kept.
- Brain grey 255, at or above 100 HU: the bone window, but never less than 100 HU.
- Brain grey 0, at or below -20 HU (air, fat): the bone window, but never more than -20 HU. Fat
  and air are told apart only in its steps of 12.5 HU.
- In the few greys between, the two are blended, so there is no seam.
- Below -900 and above 2300 HU nothing is known: those voxels hold -900 and 2300.

JPEG ringing of a few greys remains beside bone. Not in the images, and so assumed: 0.45 mm
pixels; 5 mm between slices (stated by the publisher); the patient's left on the right of the
image. Source of the images: Hssayeni et al., Data 5(1):14, 2020.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from tools.scanner.series import Exam, Grid, Subject, ct_series

BRAIN = (40.0, 120.0)
BONE = (700.0, 3200.0)
ASSUMED_SPACING_MM = 0.45
SLICE_SPACING_MM = 5.0

_FLOOR, _CEILING = (0.0, 6.0), (249.0, 255.0)
_PAIR = re.compile(r"^(\d+)-brain\.jpe?g$", re.IGNORECASE)


class SlicesError(ValueError):
    """The folder does not hold paired slices; the message names the file and what to do."""


def series_from_slices(folder: Path | str, *, when: datetime | None = None) -> list[FileDataset]:
    """Return a CT series rebuilt from a folder of paired JPEG slices.

    Parameters
    ----------
    folder : path
        Holds ``NN-brain.jpg`` and ``NN-bone.jpg``; its name becomes part of the patient ID.
    when : datetime.datetime, optional
        When the study is said to have begun; now, if not given.

    Returns
    -------
    list of pydicom.dataset.FileDataset
        From base to vertex; Instance Number is the number in the file name.

    Raises
    ------
    SlicesError
        If there are no slices, a window is missing, or an image cannot be read.
    """
    folder = Path(folder)
    numbers, brain, bone = read_slices(folder)
    label = re.sub(r"[^0-9A-Za-z]", "", folder.resolve().name)[:16] or "0"
    return ct_series(
        rebuild_hu(brain, bone),
        Subject(name=f"Slices^Head {label}", patient_id=f"SLICES-HEAD-{label}"),
        Exam("HEAD", "CT head without contrast", "Axial 5 mm", when or datetime.now().astimezone()),
        Grid(
            ASSUMED_SPACING_MM,
            SLICE_SPACING_MM,
            tuple((number - numbers[0]) * SLICE_SPACING_MM for number in numbers),
        ),
        instance_numbers=numbers,
    )


def read_slices(folder: Path) -> tuple[list[int], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return slice numbers and the two windows, each of shape (slices, rows, columns)."""
    if not folder.is_dir():
        raise SlicesError(f"{folder} is not a folder; name one that holds NN-brain.jpg files.")
    found = sorted(
        (int(match.group(1)), path)
        for path in folder.iterdir()
        if (match := _PAIR.match(path.name))
    )
    if not found:
        raise SlicesError(f"{folder} holds no NN-brain.jpg; name one patient's folder.")
    brain = [_grey(path) for _, path in found]
    bone = [_grey(path.with_name(path.name.replace("brain", "bone"))) for _, path in found]
    for (_, path), one, other in zip(found, brain, bone, strict=True):
        if not one.shape == other.shape == brain[0].shape:
            raise SlicesError(f"{path} differs in size from its bone window or the first slice.")
    return [number for number, _ in found], np.stack(brain), np.stack(bone)


def bone_shift(brain: NDArray[np.uint8], bone: NDArray[np.uint8]) -> float:
    """Return by how many greys the bone images lie above what the brain images say.

    Measured where a 5x5 neighbourhood is smooth and unclipped in the brain window; 0 when there
    is too little of it to measure, or when it is less than one grey.
    """
    differences = []
    for one, other in zip(brain, bone, strict=True):
        grey = one.astype(np.float32)
        mean = cv2.blur(grey, (5, 5))
        spread = cv2.blur(grey * grey, (5, 5)) - mean * mean
        smooth = (mean > 80) & (mean < 200) & (spread < 200)
        expected = _to_grey(_to_hu(mean[smooth], BRAIN), BONE)
        differences.append(cv2.blur(other.astype(np.float32), (5, 5))[smooth] - expected)
    measured = np.concatenate(differences)
    if measured.size < 1000:
        return 0.0
    shift = float(np.median(measured))
    return shift if abs(shift) >= 1.0 else 0.0


def rebuild_hu(brain: NDArray[np.uint8], bone: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Return HU from the two windows, same shape; see the module's text for the rules."""
    grey = brain.astype(np.float32)
    fine = _to_hu(grey, BRAIN)
    coarse = _to_hu(bone.astype(np.float32) - np.float32(bone_shift(brain, bone)), BONE)
    above = np.clip((grey - _CEILING[0]) / (_CEILING[1] - _CEILING[0]), 0, 1)
    below = np.clip((_FLOOR[1] - grey) / (_FLOOR[1] - _FLOOR[0]), 0, 1)
    high = np.maximum(coarse, fine)
    low = np.minimum(coarse, fine)
    hu = fine + above * (high - fine) + below * (low - fine)
    return np.asarray(np.rint(hu), dtype=np.int16)


def _to_hu(grey: NDArray[np.float32], window: tuple[float, float]) -> NDArray[np.float32]:
    level, width = window
    return np.asarray(level - width / 2 + grey * (width / 255), dtype=np.float32)


def _to_grey(hu: NDArray[np.float32], window: tuple[float, float]) -> NDArray[np.float32]:
    level, width = window
    return np.asarray((hu - level + width / 2) * (255 / width), dtype=np.float32)


def _grey(path: Path) -> NDArray[np.uint8]:
    if not path.is_file():
        raise SlicesError(f"{path} is missing; every slice needs both windows.")
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise SlicesError(f"{path} cannot be read as an image; fetch it again.")
    return np.asarray(image, dtype=np.uint8)
