"""From the slices of a series to one volume with its place in the patient.

Pure. Slices are put in order along their normal and must lie evenly: a model of volumes sees no
gap, it would see a head that is too short. Sources: DICOM PS3.3 C.7.6.2.1.1 (position and
orientation), NIfTI-1 (directions towards right, front and head).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.imaging.conform import Affine
from edge.imaging.geometry import SAME_PLACE_MM, describe_stack
from edge.imaging.pixels import Slice

_LEAST_SLICES = 8
_PARALLEL = 1e-3  # of a direction cosine
_SPACING = 1e-3  # mm
LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From DICOM's axes (left, posterior, head: LPS+) to RAS+, and back: it is its own inverse."""


class NoVolume(ValueError):
    """The slices do not make a volume; the message says why, for the technician."""


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Slices as one array.

    Parameters
    ----------
    voxels : float32 (columns, rows, slices)
        In modality units.
    affine : float64 (4, 4)
        From voxel indices to millimetres towards the patient's right, front and head (RAS+).
    """

    voxels: NDArray[np.float32]
    affine: Affine


def assemble(slices: Sequence[Slice]) -> Volume:
    """Return the volume that the slices make.

    Parameters
    ----------
    slices : sequence of Slice
        Of one series, in any order. Of two at the same place the first counts.

    Raises
    ------
    NoVolume
        If there are too few, one has no place, size, spacing or direction differ, or the steps from
        slice to slice do.
    """
    placed = _distinct(slices)
    first, last = placed[0], placed[-1]
    for one in placed:
        _same_grid(first, one)
    stack = describe_stack([one.position_mm or 0.0 for one in placed])
    if stack.largest_gap_mm > 0:
        raise NoVolume(
            f"slices are missing: one gap is {stack.largest_gap_mm:.1f} mm wider than the others"
        )
    assert first.orientation is not None  # noqa: S101  # _same_grid asked
    assert first.spacing is not None  # noqa: S101
    down, across = first.spacing
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.orientation[:3]) * across
    affine[:3, 1] = np.array(first.orientation[3:]) * down
    begin, end = np.array(first.position), np.array(last.position)
    # Along the table where the gantry is tilted: the slices' own steps, not their normal.
    affine[:3, 2] = (end - begin) / (len(placed) - 1)
    affine[:3, 3] = begin
    voxels = np.empty((*first.pixels.shape[::-1], len(placed)), np.float32)
    for index, one in enumerate(placed):
        voxels[:, :, index] = one.pixels.T
    return Volume(voxels, LPS_RAS @ affine)


def _distinct(slices: Sequence[Slice]) -> list[Slice]:
    if any(one.position_mm is None or one.position is None for one in slices):
        raise NoVolume("an image does not say where it lies")
    placed: list[Slice] = []
    for one in sorted(slices, key=lambda one: one.position_mm or 0.0):
        before = placed[-1].position_mm if placed else None
        if before is None or (one.position_mm or 0.0) - before >= SAME_PLACE_MM:
            placed.append(one)
    if len(placed) < _LEAST_SLICES:
        raise NoVolume(f"{len(placed)} slices are too few for a volume")
    return placed


def _same_grid(first: Slice, one: Slice) -> None:
    if one.pixels.shape != first.pixels.shape:
        raise NoVolume("the images are not all of one size")
    if one.orientation is None or first.orientation is None:
        raise NoVolume("an image does not say which way it lies")
    if not np.allclose(one.orientation, first.orientation, atol=_PARALLEL):
        raise NoVolume("the images do not all lie in one direction")
    if one.spacing is None or first.spacing is None:
        raise NoVolume("an image does not say how large its pixels are")
    if not np.allclose(one.spacing, first.spacing, atol=_SPACING):
        raise NoVolume("the images' pixels are not all of one size")
