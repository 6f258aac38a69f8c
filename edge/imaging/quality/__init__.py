"""Is this image good enough to be read? Plain measures, and named flags for the technician."""

from edge.imaging.quality.flags import Flag, Stacked, flags
from edge.imaging.quality.measures import Anatomy, SliceMeasures, expected_anatomy, measure

__all__ = [
    "Anatomy",
    "Flag",
    "SliceMeasures",
    "Stacked",
    "expected_anatomy",
    "flags",
    "measure",
]
