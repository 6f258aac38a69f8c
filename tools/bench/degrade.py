"""Images made worse in ways that are known: to see whether the quality measures notice. Pure."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]


def blurred(image: Plane, sigma: float) -> Plane:
    """Return the image after a Gaussian blur of `sigma` pixels."""
    soft: Plane = cv2.GaussianBlur(image, (0, 0), sigma)
    return soft


def smeared(image: Plane, length: int) -> Plane:
    """Return the image as if it had moved by `length` columns while it was exposed."""
    smear: Plane = cv2.blur(image, (length, 1))
    return smear


def turned(image: Plane, degrees: float) -> Plane:
    """Return the image turned clockwise about its middle; what comes in is its darkest value."""
    rows, columns = image.shape
    about = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), -degrees, 1)
    darkest = float(image.min())
    new: Plane = cv2.warpAffine(image, about, (columns, rows), borderValue=darkest)
    return new


def shifted(image: Plane, right: int, down: int) -> Plane:
    """Return the image moved within its frame; what comes in is as dark as its darkest."""
    rows, columns = image.shape
    way = np.array([[1, 0, right], [0, 1, down]], np.float32)
    new: Plane = cv2.warpAffine(image, way, (columns, rows), borderValue=float(image.min()))
    return new


def moved_in_ct(image: Plane, pixels: int) -> Plane:
    """Return a CT slice whose patient moved sideways half-way through the rotation.

    By the projection-slice theorem each direction of the image's spectrum is one projection: half
    of the directions come from the image, half from the moved image.
    """
    still = np.fft.fftshift(np.fft.fft2(image))
    moved = np.fft.fftshift(np.fft.fft2(shifted(image, pixels, 0)))
    rows, columns = image.shape
    y, x = np.mgrid[:rows, :columns]
    direction = np.arctan2(y - rows // 2, x - columns // 2) % np.pi
    both = np.where(direction < np.pi / 2, still, moved)
    return np.fft.ifft2(np.fft.ifftshift(both)).real.astype(np.float32)


def moved_in_mr(image: Plane, pixels: int, seed: int) -> Plane:
    """Return an MR slice whose patient lay elsewhere for half of the phase-encoding steps.

    The steps are rows of the spectrum, and which of them are hit is drawn from `seed`.
    """
    still = np.fft.fft2(image)
    moved = np.fft.fft2(shifted(image, 0, pixels))
    hit = np.random.default_rng(seed).random(len(image)) < 0.5
    both = np.where(hit[:, None], moved, still)
    return np.abs(np.fft.ifft2(both)).astype(np.float32)
