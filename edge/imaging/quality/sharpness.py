"""How sharp an image is, and whether something moved while it was made. Pure."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Mask = NDArray[np.uint8]

_SECTORS = 8
_LEAST_POINTS = 20
_RING_MM = (4.0, 20.0)
_STREAK_MM = (1.0, 3.0)
_AIR_HU, _SKIN_HU = -500.0, 60.0


def edge_width_mm(pixels: Plane, body: Mask, spacing: tuple[float, float]) -> float | None:
    """Return how wide the step from air to skin is, in the direction in which it is widest.

    The height of the step over its slope is the width of an edge (the derivative of the edge
    response is the line spread; ICRU Report 54, 1996). Noise hardly moves it, as the step is
    1000 HU. Movement along one direction widens only the edges across it, so eight directions are
    measured apart and the widest counts.

    Parameters
    ----------
    pixels : float32 (rows, columns)
    body : uint8 (rows, columns)
        From `edge.imaging.quality.body`.
    spacing : (float, float)
        Distance of rows, then of columns, in mm.

    Returns
    -------
    float or None
        In mm; None where too little of the outline lies against air.
    """
    edges = body - cv2.erode(body, np.ones((3, 3), np.uint8))
    edges[:2], edges[-2:], edges[:, :2], edges[:, -2:] = 0, 0, 0, 0  # there the frame cuts
    soft = np.minimum(pixels, np.float32(_SKIN_HU))  # bone under thin skin is not of this step
    down = cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=1 / (8 * spacing[0]))
    across = cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=1 / (8 * spacing[1]))
    slope = cv2.magnitude(across, down)
    # The steepest place of an edge is within a pixel or two of its half height.
    steepest = cv2.dilate(slope, np.ones((5, 5), np.uint8))[edges > 0]
    reach = np.ones((11, 11), np.uint8)
    step = (cv2.dilate(soft, reach) - cv2.erode(soft, reach))[edges > 0]
    towards = np.arctan2(down[edges > 0], across[edges > 0])
    sector = np.floor((towards % np.pi) / np.pi * _SECTORS).astype(np.intp) % _SECTORS
    widths = [
        float(np.median(step[here] / np.maximum(steepest[here], 1e-6)))
        for number in range(_SECTORS)
        if (here := sector == number).sum() >= _LEAST_POINTS
    ]
    return max(widths) if widths else None


def blur(image: Plane) -> float:
    """Return how little an image loses by being blurred once more: 0 sharp, 1 blurred.

    Crete, Dolmiere, Ladret and Nicolas, "The blur effect: perception and estimation with a new
    no-reference perceptual blur metric", SPIE 6492, 2007; the worse of the two axes. Noise reads
    as sharpness.

    Parameters
    ----------
    image : float32 (rows, columns)
        Any range; at the sampling that the threshold was measured at.
    """
    worst = 0.0
    for axis, kernel in ((0, (1, 11)), (1, (11, 1))):
        again = cv2.blur(image, kernel)
        before = np.abs(np.diff(image, axis=axis))
        after = np.abs(np.diff(again, axis=axis))
        whole = float(before.sum())
        if whole > 0:
            lost = float(np.maximum(before - after, 0).sum())
            worst = max(worst, (whole - lost) / whole)
    return worst


def streaks(pixels: Plane, body: Mask, spacing: tuple[float, float]) -> float | None:
    """Return how uneven the air around the body is, in HU.

    Movement during a CT rotation makes the projections contradict one another, and the streaks run
    out of the body into the air (Barrett and Keat, RadioGraphics 24(6), 2004). The standard
    deviation, estimated by the median absolute deviation, of what is about as wide as a streak:
    noise from pixel to pixel and slow shading are filtered out.

    Returns
    -------
    float or None
        None where there is too little air around the body.
    """
    if max(spacing) < _STREAK_MM[0] / 1.5:  # a streak is wide enough to be seen in half as many
        size = (pixels.shape[1] // 2, pixels.shape[0] // 2)
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        body = cv2.resize(body, size, interpolation=cv2.INTER_NEAREST)
        spacing = (2 * spacing[0], 2 * spacing[1])
    near, far = (max(1, round(mm / min(spacing))) for mm in _RING_MM)
    fine, coarse = (mm / min(spacing) for mm in _STREAK_MM)
    ring = _grown(body, far) - _grown(body, near)
    air = (ring > 0) & (pixels < _AIR_HU)
    if air.sum() < 500:
        return None
    band = cv2.GaussianBlur(pixels, (0, 0), fine) - cv2.GaussianBlur(pixels, (0, 0), coarse)
    values = band[air]
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def ghosting(image: Plane, body: Mask, spacing: tuple[float, float]) -> float | None:
    """Return the signal outside the body along one axis beyond that along the other, over tissue's.

    Movement during an MR acquisition repeats the body along the phase-encoding direction, into
    what should be empty. Percent-signal ghosting of the American College of Radiology's MRI
    Quality Control Manual (2015), measured around the body instead of a phantom.

    Returns
    -------
    float or None
        0 without ghosts; None where the body leaves no room for the measure.
    """
    near, far = (max(1, round(mm / min(spacing))) for mm in _RING_MM)
    keep_off = _grown(body, near)
    rows, columns = np.nonzero(body)
    if not rows.size:
        return None
    top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
    beside = np.zeros_like(body)
    beside[top : bottom + 1, max(0, left - far) : left] = 1
    beside[top : bottom + 1, right + 1 : right + 1 + far] = 1
    along = np.zeros_like(body)
    along[max(0, top - far) : top, left : right + 1] = 1
    along[bottom + 1 : bottom + 1 + far, left : right + 1] = 1
    free = keep_off == 0
    one, other = image[(beside > 0) & free], image[(along > 0) & free]
    tissue = float(image[body > 0].mean())
    if min(one.size, other.size) < 200 or tissue <= 0:
        return None
    return abs(float(one.mean()) - float(other.mean())) / (2 * tissue)


def _grown(body: Mask, by: int) -> Mask:
    """Return the mask with a square border of `by` pixels; a square is quick to grow by."""
    grown: Mask = cv2.dilate(body, np.ones((2 * by + 1, 2 * by + 1), np.uint8))
    return grown
