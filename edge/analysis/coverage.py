"""Which slices of a series its model judges, by what the package says it was taught.

A model of chosen slices knows what a healthy brain looks like where they were chosen, through the
middle of the head. At the vertex and below the skull it has seen the ill alone, and finds them in
anyone. How large the body is on a slice, beside the largest of the series, says where it lies.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TypeVar

from edge.imaging.quality.slice_measures import SliceMeasures
from engines import CoverageSpec

NONE_JUDGED = "no image shows the part of the body that the model judges"

_OBLIQUE_DEG = 45.0

Id = TypeVar("Id", bound=Hashable)


def outside(spec: CoverageSpec | None, measures: Mapping[Id, SliceMeasures]) -> frozenset[Id]:
    """Return the slices that are not judged.

    Parameters
    ----------
    spec : CoverageSpec or None
        Of the package; None judges every slice.
    measures : mapping
        Of all slices of the series. Where the body could be measured on none, as on exported
        images without plane and spacing, all are judged.
    """
    if spec is None:
        return frozenset()
    widest = max((one.body_mm for one in measures.values() if one.body_mm is not None), default=0.0)
    least = widest * math.sqrt(spec.least_section)  # a share of the area
    # Beside slices with a body, one without is empty.
    return frozenset(
        place
        for place, one in measures.items()
        if (spec.axial and one.tilt_deg is not None and one.tilt_deg > _OBLIQUE_DEG)
        or (one.body_mm or 0.0) < least
    )


def not_judged(outside: int, slices: int) -> str:
    """Return what is said of slices that were not judged."""
    return (
        f"{outside} of {slices} images do not show the part of the body that the model judges; "
        "nothing is said of them."
    )
