"""Two studies of one head, brought into one space.

Rigid, because a skull does not change: three turns and three shifts, found by mutual information
(Mattes et al., IEEE TMI 22(1), 2003) from coarse to fine. SimpleITK does it: kept by its consortium
of many laboratories, Apache-2.0, wheels for x86-64 and aarch64.

How well it fits is measured apart from how it was found: by the correlation of the two images
within the head. A study of another head, or of a part that the other does not show, stays below
what one head gives, and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge.imaging.conform import Affine
from edge.imaging.volume import LPS_RAS, Volume

if TYPE_CHECKING:
    import SimpleITK

_SHRINK = (4, 2, 1)
_SMOOTH_MM = (4.0, 2.0, 1.0)
_BINS = 32
_SAMPLED = 0.1  # of the voxels, on a regular grid: the result is the same every time
_ROUNDS = 100
_FIRST_STEP_MM, _LAST_STEP_MM = 1.0, 1e-3
# Correlation is taken of images blurred like this: it is of anatomy then, not of noise.
_BLUR_MM = 2.0
_COARSE_MM = 3.0
_AIR = 0.15  # of the brightest hundredth: darker is outside the head
_LEAST_SHARED = 0.5  # of the smaller head


class CannotAlign(ValueError):
    """Two studies could not be aligned; the message says why, for the technician."""


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """How the prior study lies in the current one.

    Parameters
    ----------
    to_prior : float64 (4, 4)
        From a point of the head in the current study to the same point in the prior, mm, RAS+.
    before, after : float
        Correlation of the two images within the head, -1 to 1: as the scanner placed them, and
        aligned.
    shared : float
        How much of the smaller head the other study shows, 0 to 1.
    """

    to_prior: Affine
    before: float
    after: float
    shared: float


def align(current: Volume, prior: Volume, *, least: float, threads: int = 1) -> Alignment:
    """Find how a prior study of a head lies in the current one.

    Parameters
    ----------
    current, prior : Volume
        The same kind of image.
    least : float
        Correlation within the head below which the two are no one head, or one of them is too
        poor.
    threads : int
        To use.

    Raises
    ------
    CannotAlign
        If they show no common part, or do not fit well enough.
    """
    itk = library()
    itk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    fixed, moving = _image(itk, current), _image(itk, prior)
    for image in (fixed, moving):
        if not _bright(itk, image):
            raise CannotAlign("the two studies could not be aligned: one of them is empty")
    try:
        found = _search(itk, fixed, moving)
    except RuntimeError as error:  # the library knows no other
        raise CannotAlign(
            "the two studies could not be aligned: they show no common part"
        ) from error
    before, _ = _fit(itk, fixed, moving, itk.Transform(3, itk.sitkIdentity))
    after, shared = _fit(itk, fixed, moving, found)
    if shared < _LEAST_SHARED:
        raise CannotAlign(
            f"the two studies could not be aligned: they share {shared:.0%} of the head, "
            f"{_LEAST_SHARED:.0%} is needed"
        )
    if not after >= least:
        raise CannotAlign(
            f"the two studies could not be aligned: they correlate by {after:.2f} where one head "
            f"gives {least:.2f} or more"
        )
    return Alignment(_matrix(found), before, after, shared)


def library() -> Any:
    """Return SimpleITK, which is large: it is loaded where studies are compared, and only there."""
    import SimpleITK  # noqa: PLC0415

    return SimpleITK


def _search(itk: Any, fixed: SimpleITK.Image, moving: SimpleITK.Image) -> Any:
    method = itk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(_SAMPLED, 1)
    method.SetInterpolator(itk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(_FIRST_STEP_MM, _LAST_STEP_MM, _ROUNDS)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(_SHRINK)
    method.SetSmoothingSigmasPerLevel(_SMOOTH_MM)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    begin = itk.CenteredTransformInitializer(
        fixed, moving, itk.Euler3DTransform(), itk.CenteredTransformInitializerFilter.MOMENTS
    )
    method.SetInitialTransform(begin, inPlace=False)
    return method.Execute(fixed, moving)


def _fit(
    itk: Any, fixed: SimpleITK.Image, moving: SimpleITK.Image, transform: Any
) -> tuple[float, float]:
    """Return the correlation within both heads, and how much of the smaller head is in both."""
    grid = _coarse(itk, fixed)
    one = itk.Resample(itk.SmoothingRecursiveGaussian(fixed, _BLUR_MM), grid)
    other = itk.Resample(
        itk.SmoothingRecursiveGaussian(moving, _BLUR_MM), grid, transform, itk.sitkLinear, 0.0
    )
    here, there = (itk.GetArrayFromImage(image) for image in (one, other))
    heads = here > _AIR * _bright(itk, fixed), there > _AIR * _bright(itk, moving)
    both = heads[0] & heads[1]
    smaller = min(int(heads[0].sum()), _head_size(itk, moving))
    if both.sum() < 2 or smaller == 0:
        return 0.0, 0.0
    first, second = here[both], there[both]
    if first.std() == 0 or second.std() == 0:
        return 0.0, 0.0
    return float(np.corrcoef(first, second)[0, 1]), min(1.0, float(both.sum()) / smaller)


def _head_size(itk: Any, image: SimpleITK.Image) -> int:
    voxels = itk.GetArrayFromImage(
        itk.Resample(itk.SmoothingRecursiveGaussian(image, _BLUR_MM), _coarse(itk, image))
    )
    return int((voxels > _AIR * _bright(itk, image)).sum())


def _bright(itk: Any, image: SimpleITK.Image) -> float:
    return float(np.percentile(itk.GetArrayViewFromImage(image), 99))


def _coarse(itk: Any, image: SimpleITK.Image) -> SimpleITK.Image:
    """Return an empty grid over an image, of a few millimetres each way."""
    edges = [size * step for size, step in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    sizes = [max(1, round(edge / _COARSE_MM)) for edge in edges]
    grid = itk.Image(sizes, itk.sitkUInt8)
    grid.SetSpacing([edge / size for edge, size in zip(edges, sizes, strict=True)])
    grid.SetOrigin(image.GetOrigin())
    grid.SetDirection(image.GetDirection())
    return grid


def _image(itk: Any, volume: Volume) -> SimpleITK.Image:
    affine = LPS_RAS @ volume.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = itk.GetImageFromArray(np.ascontiguousarray(volume.voxels.transpose(2, 1, 0)))
    image.SetSpacing([float(one) for one in spacing])
    image.SetDirection(_orthogonal(affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def _orthogonal(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest directions at right angles: rounding, and the gantry's tilt, are not."""
    left, _, right = np.linalg.svd(directions)
    return np.asarray(left @ right, np.float64)


def _matrix(transform: Any) -> Affine:
    """Return a rigid transform as a matrix in RAS+, from where it takes four points."""
    corners = np.vstack([np.zeros(3), np.eye(3)])
    ends = np.array([transform.TransformPoint(one) for one in corners.tolist()], np.float64)
    lps = np.eye(4)
    lps[:3, :3] = (ends[1:] - ends[0]).T
    lps[:3, 3] = ends[0]
    return np.asarray(LPS_RAS @ lps @ LPS_RAS, np.float64)
