"""How a probability is said to people, everywhere alike."""

from __future__ import annotations


def chance(probability: float) -> str:
    """Return a probability, 0 to 1, in whole per cent; no model is as sure as 0 or 100 %."""
    if probability > 0.99:
        return "over 99%"
    if probability < 0.01:
        return "under 1%"
    return f"{probability:.0%}"
