"""An MR series from a NIfTI file, as research data come.

The voxels stay where they are in the patient: nothing is turned or resampled. The first two axes of
the file become columns and rows, the third the slices, whichever way they run; NIfTI's directions
are right, front and head, DICOM's left, back and head (PS3.3 C.7.6.2.1.1). Numbers that are whole
and fit 16 bits are kept; others are spread over 0 to 4095. What the file does not say is invented:
the patient, the study, and the parameters of the sequence.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from edge.imaging.conform import Affine
from edge.imaging.nifti import read_nifti
from tools.scanner.series import Exam, Placed, Subject, mr_volume

_SPREAD = 4095
_MOST = 65535
_SHEAR = 1e-3


class NiftiError(ValueError):
    """The file cannot become a series; the message names it and says what to do."""


def series_from_nifti(
    file: Path,
    *,
    when: datetime | None = None,
    patient: str | None = None,
    flair: bool = False,
    axial: bool = False,
) -> list[FileDataset]:
    """Return the MR series that a NIfTI file makes.

    Parameters
    ----------
    file : Path
        ``.nii`` or ``.nii.gz``, of three axes.
    when : datetime.datetime, optional
        When the study is said to have begun; now, if not given.
    patient : str, optional
        Patient ID, so that two files are of one patient; made from the file's name if not given.
    flair : bool
        Call it a FLAIR instead of a T1.
    axial : bool
        Cut it into the slices that lie nearest to axial, whichever way it was acquired.

    Returns
    -------
    list of pydicom.dataset.FileDataset
        In the order of the file's third axis, or from the feet to the head where it is cut anew.

    Raises
    ------
    UnreadableVolume
        If the file is no volume that can be read.
    NiftiError
        If its axes are not at right angles, or there is nothing in it.
    """
    voxels, affine = read_nifti(file)
    if axial:
        voxels, affine = _cut_axially(voxels, affine)
    label = patient or re.sub(r"[^0-9A-Za-z-]", "", file.name.split(".")[0])[:16] or "0"
    signal = _whole(voxels, file)
    low, high = (int(value) for value in np.percentile(signal, (2, 99.5)))
    return mr_volume(
        np.ascontiguousarray(signal.transpose(2, 1, 0)),
        Subject(name=f"Nifti^{label}", patient_id=label if patient else f"NIFTI-{label}"),
        Exam(
            "BRAIN",
            "MR brain",
            "FLAIR 3D" if flair else "T1 3D",
            when or datetime.now().astimezone(),
        ),
        _placed(affine, voxels.shape[2], file),
        ((low + high) // 2, max(high - low, 1)),
        flair=flair,
    )


def _cut_axially(voxels: NDArray[np.float32], affine: Affine) -> tuple[NDArray[np.float32], Affine]:
    """Return the same voxels with axes towards the left, the back and the head."""
    steps = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    head = int(np.abs(steps[2]).argmax())
    back = int(np.argmax([0 if axis == head else abs(steps[1, axis]) for axis in range(3)]))
    order = [3 - head - back, back, head]
    turned, placed = voxels.transpose(order), affine.copy()
    placed[:, :3] = affine[:, order]
    for axis, direction in enumerate((-1, -1, 1)):  # of NIfTI: right, front, head
        if direction * placed[axis, axis] < 0:
            last = turned.shape[axis] - 1
            turned = np.flip(turned, axis)
            placed[:3, 3] += last * placed[:3, axis]
            placed[:3, axis] *= -1
    return turned, placed


def _whole(voxels: NDArray[np.float32], file: Path) -> NDArray[np.uint16]:
    low, high = float(voxels.min()), float(voxels.max())
    if not high > low:
        raise NiftiError(f"{file}: all voxels are alike, so there is no image in it.")
    if low >= 0 and high <= _MOST and not np.any(voxels % 1):
        return voxels.astype(np.uint16)
    spread: NDArray[np.uint16] = np.rint((voxels - low) * (_SPREAD / (high - low))).astype(
        np.uint16
    )
    return spread


def _placed(affine: Affine, slices: int, file: Path) -> Placed:
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    steps = lps[:3, :3]
    lengths = np.linalg.norm(steps, axis=0)
    if lengths.min() <= 0:
        raise NiftiError(f"{file}: its header does not say how large a voxel is.")
    directions = steps / lengths
    if abs(directions[:, 0] @ directions[:, 1]) > _SHEAR:
        raise NiftiError(f"{file}: its rows and columns are not at a right angle; resample it.")
    positions = [lps[:3, 3] + index * steps[:, 2] for index in range(slices)]
    return Placed(
        orientation=(*directions[:, 0].tolist(), *directions[:, 1].tolist()),
        positions=tuple((float(x), float(y), float(z)) for x, y, z in positions),
        spacing_mm=(round(float(lengths[1]), 6), round(float(lengths[0]), 6)),
        thickness_mm=round(float(lengths[2]), 6),
    )
