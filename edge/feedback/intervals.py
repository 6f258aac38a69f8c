"""How far a share can be trusted that was counted on few cases.

Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference,
J. Am. Stat. Assoc. 22 (1927) 209-212. Unlike the textbook interval it is honest near 0 and 1
and for a handful of cases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Z_95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its 95 % interval, all from 0 to 1; counted on `n` cases."""

    value: float
    low: float
    high: float
    n: int


def wilson(hits: int, n: int) -> Share | None:
    """Return the share `hits / n` with Wilson's 95 % interval; None where nothing was counted.

    Raises
    ------
    ValueError
        If there are more hits than cases, or a count is negative.
    """
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n} is no share.")
    if n == 0:
        return None
    share = hits / n
    z2 = Z_95**2 / n
    middle = (share + z2 / 2) / (1 + z2)
    half = Z_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n)) / (1 + z2)
    return Share(share, max(0.0, middle - half), min(1.0, middle + half), n)
