"""Drift: whether scores, or images, are distributed as they were. Pure.

The population stability index compares two histograms of the same bins:

    PSI = sum over bins of (recent - reference) * ln(recent / reference)

A share of zero is taken as half a case, so that an empty bin is not an infinity.

The customary limits (0.1 worth watching, 0.25 a change) presume thousands of cases. With few, PSI
is above them by chance alone: where nothing has changed it is distributed about as
``(1/n + 1/m) * chi2(bins - 1)``, with n cases in one histogram and m in the other (B. Yurdakul
and J. Naranjo, Statistical properties of the population stability index, J. Risk Model
Validation 14(4), 2020). So a warning needs both: PSI of at least the customary limit, and beyond
what chance explains in 999 of 1,000 comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

BINS = 10
WATCH, CHANGE = 0.1, 0.25
# Fewer say nothing: then drift is "not known yet", which is not "none".
LEAST_REFERENCE, LEAST_RECENT = 100, 50
_Z_999 = 3.090232306167813  # the normal distribution's 99.9 % quantile


class Standing(str, Enum):
    """What a comparison says."""

    UNKNOWN = "unknown"
    STEADY = "steady"
    WATCH = "watch"
    DRIFT = "drift"


@dataclass(frozen=True, slots=True)
class Drift:
    """A comparison of two histograms.

    Parameters
    ----------
    standing : Standing
    psi : float
        0 for equal histograms; 0 too where there are too few cases.
    by_chance : float
        What chance alone stays below in 999 of 1,000 comparisons of so many cases.
    reference, recent : int
        Cases in each.
    """

    standing: Standing
    psi: float
    by_chance: float
    reference: int
    recent: int


def bin_of(value: float) -> int:
    """Return the bin of a value from 0 to 1; what is outside goes to the nearest."""
    return min(BINS - 1, max(0, int(value * BINS)))


def compare(reference: Sequence[int], recent: Sequence[int]) -> Drift:
    """Compare two histograms of the same bins.

    Parameters
    ----------
    reference, recent : sequence of int
        Cases in each bin; at least two bins.

    Raises
    ------
    ValueError
        If they have not the same bins.
    """
    if len(reference) != len(recent) or len(reference) < 2:
        raise ValueError(f"{len(reference)} and {len(recent)} bins cannot be compared.")
    n, m = sum(reference), sum(recent)
    if n < LEAST_REFERENCE or m < LEAST_RECENT:
        return Drift(Standing.UNKNOWN, 0.0, 0.0, n, m)
    psi = sum(
        (b - a) * math.log(b / a) for a, b in zip(_shares(reference), _shares(recent), strict=True)
    )
    by_chance = (1 / n + 1 / m) * chi2_999(len(reference) - 1)
    if psi < WATCH or psi <= by_chance:
        standing = Standing.STEADY
    else:
        standing = Standing.DRIFT if psi >= CHANGE else Standing.WATCH
    return Drift(standing, psi, by_chance, n, m)


def chi2_999(freedom: int) -> float:
    """Return about the 99.9 % quantile of the chi-squared distribution.

    Wilson and Hilferty, Proc. Natl. Acad. Sci. 17 (1931) 684; within 2 % from 3 degrees on.
    """
    spread = 2 / (9 * freedom)
    return freedom * (1 - spread + _Z_999 * math.sqrt(spread)) ** 3


def _shares(counts: Sequence[int]) -> list[float]:
    smoothed = [max(0.5, float(count)) for count in counts]
    total = sum(smoothed)
    return [count / total for count in smoothed]
