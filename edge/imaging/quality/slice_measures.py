"""One image in numbers, as the worker measures them and the daemon judges a series by them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SliceMeasures:
    """One image in numbers; None where a measure does not apply or found nothing to measure.

    Parameters
    ----------
    fingerprint : int or None
        Of the pixels; two images with the same one hold the same picture. None where all pixels
        are alike: empty slices repeat one another.
    height_mm : float or None
        z of the image in the patient, towards the head.
    tilt_deg : float or None
        Of an axial slice: angle between its normal and the patient's long axis.
    body_mm : float or None
        Diameter of a circle with the body's area.
    cut : float or None
        Share of the body's outline that is the edge of the field of view.
    roll_deg : float or None
        By how much a head is turned in the image plane, clockwise.
    background : float or None
        Along the frame of an image of a head: in HU in CT, over the image's mean in MR.
    edge_mm : float or None
        Width of the edge from air to skin, CT.
    streaks_hu : float or None
        Spread of what should be even air around the head, CT.
    ghosts : float or None
        Signal beside the head along one axis beyond the other, as a share of tissue, MR.
    blur : float or None
        0 sharp to 1, MR and radiographs.
    column, likeness : float or None
        Of a chest radiograph; see `edge.imaging.quality.radiograph.Chest`.
    white, spread : float or None
        Share of pure white in a radiograph; the range of brightness of its middle 80 %.
    """

    fingerprint: int | None
    height_mm: float | None = None
    tilt_deg: float | None = None
    body_mm: float | None = None
    cut: float | None = None
    roll_deg: float | None = None
    background: float | None = None
    edge_mm: float | None = None
    streaks_hu: float | None = None
    ghosts: float | None = None
    blur: float | None = None
    column: float | None = None
    likeness: float | None = None
    white: float | None = None
    spread: float | None = None
