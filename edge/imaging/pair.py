"""Two studies of one head become what a model of change eats: one grid, one scale, brain alone.

Both are resampled, each by half of the way between them: were only one moved, it alone would be
blurred, and the edges of all that lies between would look like change (Reuter et al., NeuroImage
61(4), 2012). Outside the brain there is 0; within it the median of each study stands at 0.4.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.imaging.conform import Affine, CannotConform, grid_at, resampled
from edge.imaging.registration import Alignment, library
from edge.imaging.volume import Volume
from engines import InputSpec

BRAIN_MEDIAN = 0.4
_TISSUE = 0.55  # of the median of what is not air
_AIR = 0.15  # of the brightest hundredth
_SKULL_MM = 3.0
_LEAST_BRAIN_ML = 200.0

Voxels = NDArray[np.float32]
Mask = NDArray[np.bool_]


def halfway(alignment: Alignment) -> Affine:
    """Return the rigid motion that, done twice, is the one from the current to the prior study."""
    whole = alignment.to_prior
    turn, _ = cv2.Rodrigues(whole[:3, :3])
    half = np.eye(4)
    half[:3, :3], _ = cv2.Rodrigues(turn / 2)
    half[:3, 3] = np.linalg.solve(half[:3, :3] + np.eye(3), whole[:3, 3])
    return half


def grid_between(current: Volume, alignment: Alignment, spec: InputSpec) -> Affine:
    """Return the model's grid, from its voxels to millimetres half-way between the studies.

    The middle of the current study's head is its middle voxel.
    """
    voxels = current.voxels
    head = np.argwhere(voxels > _AIR * np.percentile(voxels, 99))
    if not len(head):
        raise CannotConform("The volume is empty.")
    middle = halfway(alignment) @ current.affine @ [*head.mean(axis=0), 1.0]
    return grid_at(middle[:3], spec)


def pair(current: Volume, prior: Volume, alignment: Alignment, spec: InputSpec) -> Voxels:
    """Return the two studies as a model's input.

    Parameters
    ----------
    current, prior : Volume
    alignment : Alignment
        Of the two.
    spec : InputSpec
        Of layout ``NCDHW`` and normalise ``brain``.

    Returns
    -------
    ndarray of float32, shape (2, depth, height, width)
        The current study, then the prior, from 0 to 1.

    Raises
    ------
    CannotConform
        If no brain is found in the two.
    """
    half = halfway(alignment)
    grid = grid_between(current, alignment, spec)
    ways = half @ current.affine, np.linalg.inv(half) @ prior.affine
    both = [
        resampled(one.voxels.astype(np.float32), np.linalg.inv(way) @ grid, spec.sizes)
        for one, way in zip((current, prior), ways, strict=True)
    ]
    assert spec.spacing_mm is not None  # noqa: S101  # a volume's input has one
    brain = find_brain(np.minimum(*both), spec.spacing_mm)
    return np.stack([_scaled(one, brain) for one in both])


def find_brain(darker: Voxels, spacing_mm: tuple[float, float, float]) -> Mask:
    """Return the brain: the largest bright thing once the scalp is cut off it.

    Parameters
    ----------
    darker : ndarray of float32, shape (depth, height, width)
        The lower of the two studies: what is brain in one alone is none.
    spacing_mm : tuple of float
    """
    itk = library()
    head = darker[darker > _AIR * np.percentile(darker, 99)]
    if not head.size:
        raise CannotConform("No brain is found in the two studies.")
    tissue = itk.GetImageFromArray((darker > _TISSUE * float(np.median(head))).astype(np.uint8))

    def reach(by_mm: float) -> list[int]:
        return [max(1, round(by_mm / spacing_mm[2])), max(1, round(by_mm / spacing_mm[1])), 0]

    core = _largest(itk, itk.BinaryErode(tissue, reach(_SKULL_MM)))
    whole = itk.BinaryMorphologicalClosing(
        itk.BinaryDilate(core, reach(_SKULL_MM)), reach(2 * _SKULL_MM)
    )
    brain: Mask = itk.GetArrayFromImage(whole) > 0
    if brain.sum() * float(np.prod(spacing_mm)) / 1000 < _LEAST_BRAIN_ML:
        raise CannotConform("No brain is found in the two studies.")
    return brain


def _largest(itk: Any, mask: Any) -> Any:
    return itk.RelabelComponent(itk.ConnectedComponent(mask), sortByObjectSize=True) == 1


def _scaled(values: Voxels, brain: Mask) -> Voxels:
    middle = float(np.median(values[brain]))
    if middle <= 0:
        raise CannotConform("The brain of one study is black.")
    scaled = np.clip(values * np.float32(BRAIN_MEDIAN / middle), 0, 1)
    return np.where(brain, np.maximum(scaled, np.float32(1e-3)), np.float32(0))
