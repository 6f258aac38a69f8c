"""What a model's pixels must become, as `[input]` of ``model.toml`` says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Layout = Literal["NCHW", "NCDHW"]
Normalise = Literal["windows", "percentile", "brain"]
Fit = Literal["keep", "stretch"]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the pixels must become: float32, values 0..1.

    Slices, ``NCHW``: (n, channels, height, width). Channels are ordered window by window, and
    within a window from the lowest (most inferior) neighbour to the highest; at an end of the
    series the last slice repeats itself. The full slice is scaled to 0..1 first and resized after,
    by area averaging (OpenCV's INTER_AREA).

    Volumes, ``NCDHW``: (n, channels, depth, height, width). The series is scaled to 0..1 first and
    resampled after, trilinearly, onto a grid of this size, of `spacing_mm` along `axes`, in whose
    middle it lies; around it there is 0. Where the model leaves these axes free it takes other
    sizes too, so that a check set may hold crops.

    Windows are linear and exact: ``clip((HU - (level - width / 2)) / width, 0, 1)``, as in DICOM
    PS3.3 C.11.2.1.3.2. Percentiles are of all pixels of the slice or of the series:
    ``clip((value - low) / (high - low), 0, 1)``.

    Parameters
    ----------
    tensor : str
        Name of the model's input.
    height, width : int
        Pixels.
    windows : tuple of (level, width)
        In HU for CT, in stored units otherwise; empty where percentiles scale.
    neighbours : int
        Slices on each side; 1 means three slices. 0 for volumes.
    layout : str
        ``NCHW`` or ``NCDHW``.
    normalise : str
        ``windows`` or ``percentile``.
    percentiles : tuple of float, or None
        (low, high), 0 to 100; None where windows scale.
    depth : int or None
        Slices of a volume; None for slices.
    spacing_mm : tuple of float, or None
        Along depth, height and width; None for slices.
    axes : str or None
        Which way depth, height and width run in the patient, a letter each: ``R`` or ``L``, ``A``
        or ``P``, ``S`` or ``I``, as in ``LIA``; None for slices.
    fit : str
        ``keep``: a slice keeps its proportions and is padded with 0. ``stretch``: it fills the
        frame, as the images of some public collections do.
    crop_above : float or None
        Slices are cut to the square that holds what is above this value (in HU for CT), before
        anything else; None leaves them whole.
    studies : int
        2: the current study and an aligned prior, a channel each, normalised by the brain:
        outside it 0, its median 0.4.
    """

    tensor: str
    height: int
    width: int
    windows: tuple[tuple[float, float], ...]
    neighbours: int
    layout: Layout = "NCHW"
    normalise: Normalise = "windows"
    percentiles: tuple[float, float] | None = None
    depth: int | None = None
    spacing_mm: tuple[float, float, float] | None = None
    axes: str | None = None
    fit: Fit = "keep"
    crop_above: float | None = None
    studies: int = 1

    @property
    def channels(self) -> int:
        """Windows (or the one percentile scale) times slices, or the studies of a pair."""
        return max(1, len(self.windows)) * (2 * self.neighbours + 1) * self.studies

    @property
    def sizes(self) -> tuple[int, ...]:
        """(height, width), or (depth, height, width) of a volume."""
        plane = (self.height, self.width)
        return plane if self.depth is None else (self.depth, *plane)
