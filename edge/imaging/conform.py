"""From a volume with its place in the patient to the volume that a model eats.

Voxels are scaled to 0..1 first and resampled after, trilinearly, onto a grid of the model's size,
spacing and directions that is centred on the volume. Outside the volume there is 0. A volume that
lies on that grid already is not resampled at all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines import InputSpec

_TOWARDS = {
    "R": (1.0, 0.0, 0.0),
    "L": (-1.0, 0.0, 0.0),
    "A": (0.0, 1.0, 0.0),
    "P": (0.0, -1.0, 0.0),
    "S": (0.0, 0.0, 1.0),
    "I": (0.0, 0.0, -1.0),
}
_ON_THE_GRID = 1e-3  # voxels

Affine = NDArray[np.float64]


class CannotConform(ValueError):
    """A volume cannot become what the model eats; the message says why."""


def conform(volume: NDArray[np.generic], affine: Affine, spec: InputSpec) -> NDArray[np.float32]:
    """Return a volume as a model's input.

    Parameters
    ----------
    volume : ndarray, shape (i, j, k)
        Stored or rescaled values; HU for CT.
    affine : ndarray of float, shape (4, 4)
        From voxel (i, j, k, 1) to millimetres towards the patient's right, front and head (RAS+,
        as NIfTI-1 has it; DICOM's own directions are left, back and head).
    spec : InputSpec
        Of layout ``NCDHW``.

    Returns
    -------
    ndarray of float32, shape (channels, depth, height, width)
        From 0 to 1.

    Raises
    ------
    CannotConform
        If the shape or the affine cannot be used, a value is not finite, or nothing varies.
    """
    if spec.depth is None or spec.axes is None or spec.spacing_mm is None:
        raise CannotConform("The model takes slices, not volumes.")
    if volume.ndim != 3 or min(volume.shape) < 2:
        raise CannotConform(f"A volume has three axes of 2 or more; this has shape {volume.shape}.")
    matrix = np.asarray(affine, np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or _flat(matrix):
        raise CannotConform("The affine does not say where the voxels lie.")
    to_source = np.linalg.inv(matrix) @ _grid(volume.shape, matrix, spec)
    scaled = _scaled(volume.astype(np.float32), spec)
    return np.stack([resampled(channel, to_source, spec.sizes) for channel in scaled])


def _flat(matrix: Affine) -> bool:
    return bool(abs(np.linalg.det(matrix[:3, :3])) < 1e-9)


def _grid(shape: tuple[int, ...], affine: Affine, spec: InputSpec) -> Affine:
    """Return the affine of the model's grid: its middle voxel is the volume's."""
    middle = affine @ [*((size - 1) / 2 for size in shape), 1.0]
    return grid_at(middle[:3], spec)


def grid_at(middle: NDArray[np.float64], spec: InputSpec) -> Affine:
    """Return the affine of the model's grid whose middle voxel lies at `middle`, mm, RAS+."""
    assert spec.axes is not None  # noqa: S101  # the input is a volume
    assert spec.spacing_mm is not None  # noqa: S101
    grid = np.eye(4)
    directions = np.array([_TOWARDS[letter] for letter in spec.axes])
    grid[:3, :3] = directions.T * spec.spacing_mm
    grid[:3, 3] = middle - grid[:3, :3] @ [(size - 1) / 2 for size in spec.sizes]
    return grid


def _scaled(values: NDArray[np.float32], spec: InputSpec) -> list[NDArray[np.float32]]:
    if not np.isfinite(values).all():
        raise CannotConform("A voxel is not a finite number.")
    if spec.percentiles is not None:
        low, high = (float(one) for one in np.percentile(values, spec.percentiles))
        if high <= low:
            raise CannotConform("The voxels do not vary, so there is nothing to scale.")
        return [np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)]
    return [
        np.clip((values - np.float32(level - width / 2)) / np.float32(width), 0, 1)
        for level, width in spec.windows
    ]


def resampled(
    source: NDArray[np.float32], to_source: Affine, sizes: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return the source at a grid's points; `to_source` leads from grid voxels to its voxels."""
    if source.shape == sizes and np.allclose(to_source, np.eye(4), atol=_ON_THE_GRID):
        return np.ascontiguousarray(source)
    depth, height, width = sizes
    # A rim of zeros around the source, so that beyond it there is 0 and near it a slope to it.
    padded = np.pad(source, 1)
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    plane = np.stack([rows, columns], axis=-1) @ to_source[:3, 1:3].T + to_source[:3, 3] + 1
    found = np.empty(sizes, np.float32)
    limits = np.array(padded.shape) - 1
    for place in range(depth):  # plane by plane: eight neighbours of a whole volume are large
        at = np.clip(plane + place * to_source[:3, 0], 0, limits)
        # On the grid but for rounding: then it is the voxel itself.
        near = np.rint(at)
        at = np.where(np.abs(at - near) < _ON_THE_GRID, near, at)
        found[place] = _between(padded, at)
    return found


def _between(source: NDArray[np.float32], at: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the trilinear values of `source` at points (..., 3) within it."""
    low = np.minimum(at.astype(np.intp), np.array(source.shape) - 2)
    share = (at - low).astype(np.float32)
    value = np.zeros(at.shape[:-1], np.float32)
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, share, 1 - share), axis=-1)
        value += weight * source[tuple((low + corner)[..., axis] for axis in range(3))]
    return value
