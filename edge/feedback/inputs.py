"""What is counted of the images themselves, so that other images are noticed before other scores.

Each measure is one that image quality takes anyway (`edge.imaging.quality.measures`): the median
over a series, put between 0 and 1 by a fixed range. The ranges cover what scanners make; what
is outside counts at the end. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from edge.imaging.quality.slice_measures import SliceMeasures

PREFIX = "INPUT:"  # before a measure's name, where a finding has its code


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure by its name in `SliceMeasures`, in words, and the range that is counted."""

    name: str
    label: str
    low: float
    high: float


def _(text: str) -> str:
    return text


IMAGES = Measure("images", _("Images in a series"), 0.0, 400.0)
MEASURES = (
    Measure("body_mm", _("Size of the body in the image"), 0.0, 500.0),
    Measure("edge_mm", _("Width of the edge from air to skin"), 0.0, 8.0),
    Measure("streaks_hu", _("Unevenness of the air around the head"), 0.0, 60.0),
    Measure("blur", _("Blur"), 0.0, 1.0),
    Measure("spread", _("Range of brightness"), 0.0, 1.0),
    Measure("tilt_deg", _("Tilt of the slices"), 0.0, 30.0),
)


def inputs_of(images: Sequence[SliceMeasures]) -> tuple[tuple[str, float], ...]:
    """Return the measures of a series that have a value, by name, each from 0 to 1."""
    found = [(IMAGES.name, _between(len(images), IMAGES))] if images else []
    for measure in MEASURES:
        values = [getattr(image, measure.name) for image in images]
        known = [value for value in values if value is not None]
        if known:
            found.append((measure.name, _between(median(known), measure)))
    return tuple(found)


def label_of(name: str) -> str:
    """Return a measure in words, to be translated."""
    return next(measure.label for measure in (IMAGES, *MEASURES) if measure.name == name)


def _between(value: float, measure: Measure) -> float:
    return min(1.0, max(0.0, (value - measure.low) / (measure.high - measure.low)))
