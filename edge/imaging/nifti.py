"""A NIfTI file, read as a volume with its place in the patient. Research data come like this.

Source: NIfTI-1 data format, nifti1.h; nibabel reads it.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.imaging.conform import Affine

_MOST_VOXELS = 1 << 28  # 1 GiB as float32: a head at half a millimetre has a quarter of it


class UnreadableVolume(ValueError):
    """A file is not a volume that can be read; the message says why."""


def read_nifti(file: Path) -> tuple[NDArray[np.float32], Affine]:
    """Read a volume.

    Parameters
    ----------
    file : pathlib.Path
        ``.nii`` or ``.nii.gz``.

    Returns
    -------
    ndarray of float32, shape (i, j, k)
        Scaled as the header says.
    ndarray of float, shape (4, 4)
        From voxels to millimetres, RAS+.

    Raises
    ------
    UnreadableVolume
        If it cannot be read, is damaged, has not three axes, or is too large.
    """
    import nibabel  # noqa: PLC0415  # only for files of this kind
    from nibabel.filebasedimages import ImageFileError  # noqa: PLC0415
    from nibabel.spatialimages import HeaderDataError  # noqa: PLC0415

    try:
        image = nibabel.load(file)
        shape = tuple(image.shape)
        if len(shape) != 3 or not 0 < prod(shape) <= _MOST_VOXELS:
            raise UnreadableVolume(
                f"{file}: has shape {shape}; expected three axes of at most {_MOST_VOXELS} voxels "
                "together."
            )
        voxels = np.asanyarray(image.dataobj, dtype=np.float32)
    except (OSError, EOFError, ValueError, ImageFileError, HeaderDataError) as error:
        if isinstance(error, UnreadableVolume):
            raise
        raise UnreadableVolume(f"{file}: cannot be read as NIfTI: {error}") from error
    return voxels, np.asarray(image.affine, np.float64)
