"""Which studies are the reference and which are recent: the first ones against the last ones.

A package carries no reference scores of its own, so each site's first studies with a version of
a model are its reference: they were judged when the model was taken into use. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from edge.feedback.drift import BINS

# So many that what chance explains (0.23) is below the limit of a drift (0.25).
REFERENCE, RECENT = 300, 200
Histogram = tuple[int, ...]


def reference_and_recent(days: Mapping[date, Sequence[int]]) -> tuple[Histogram, Histogram]:
    """Return the histogram of the first studies and that of the last, by whole days.

    Parameters
    ----------
    days : mapping of date to sequence of int
        For each day its studies by bin.

    Returns
    -------
    tuple of histograms
        The first days until there are `REFERENCE` studies, and the last until there are
        `RECENT`; a day belongs to one of them only.
    """
    ordered = sorted(days)
    first, last = [0] * BINS, [0] * BINS
    while ordered and sum(first) < REFERENCE:
        _add(first, days[ordered.pop(0)])
    while ordered and sum(last) < RECENT:
        _add(last, days[ordered.pop()])
    return tuple(first), tuple(last)


def _add(histogram: list[int], day: Sequence[int]) -> None:
    for place, count in enumerate(day):
        histogram[place] += count
