"""Where a finding is seen, as the worker says it and an alert repeats it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a finding is seen.

    Parameters
    ----------
    text : str
        For people; the sides are the patient's where the image says where it lies.
    position_mm : tuple of 3 float, or None
        In the patient (LPS; PS3.3 C.7.6.2.1.1).
    """

    text: str
    position_mm: tuple[float, float, float] | None
