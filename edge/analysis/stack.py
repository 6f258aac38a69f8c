"""Which slices can be looked at now.

A model that sees a slice with its neighbours can look at it once the neighbours are there. As
slices come in order, that is one slice behind the scanner. When they come in any order, a
window that was looked at may turn out to have had the wrong neighbours; at the end it is looked
at again, so the result never depends on the order of arrival.
"""

from __future__ import annotations

import bisect
import itertools
from dataclasses import dataclass

# A gap this much wider than the narrowest one seen is taken for a slice still to come.
_NEIGHBOUR = 1.5


@dataclass(frozen=True, slots=True)
class Window:
    """A slice and its neighbours, by id, from low to high position; the ends are repeated."""

    centre: int
    slices: tuple[int, ...]


class SliceStack:
    """The slices of one series by position.

    Parameters
    ----------
    neighbours : int
        How many slices on each side the model sees.
    """

    def __init__(self, neighbours: int) -> None:
        self._neighbours = neighbours
        self._positions: list[float] = []
        self._ids: list[int] = []
        self._looked_at: dict[int, Window] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, slice_id: int, position: float) -> bool:
        """Add a slice; return False if another is at the same position, which then stays."""
        place = bisect.bisect_left(self._positions, position)
        if place < len(self._positions) and self._positions[place] == position:
            return False
        self._positions.insert(place, position)
        self._ids.insert(place, slice_id)
        return True

    def ready(self) -> list[Window]:
        """Return the windows that are whole and were never looked at."""
        step = min((b - a for a, b in itertools.pairwise(self._positions)), default=0.0)
        reach = self._neighbours
        windows = []
        for place in range(reach, len(self._ids) - reach):
            if self._ids[place] in self._looked_at:
                continue
            around = self._positions[place - reach : place + reach + 1]
            gaps = (b - a for a, b in itertools.pairwise(around))
            if all(gap <= _NEIGHBOUR * step for gap in gaps):
                windows.append(self._window(place))
        return windows

    def remaining(self) -> list[Window]:
        """Return every window that was not looked at as it now stands: for the series' end."""
        windows = (self._window(place) for place in range(len(self._ids)))
        return [window for window in windows if self._looked_at.get(window.centre) != window]

    def looked_at(self, window: Window) -> None:
        """Note that a window was looked at."""
        self._looked_at[window.centre] = window

    def window_of(self, slice_id: int) -> Window:
        """Return the window of a slice as it now stands."""
        return self._window(self._ids.index(slice_id))

    def _window(self, place: int) -> Window:
        last = len(self._ids) - 1
        around = range(place - self._neighbours, place + self._neighbours + 1)
        return Window(self._ids[place], tuple(self._ids[min(max(i, 0), last)] for i in around))
