"""Where the marks of a plot stand. Pure: figures in, coordinates out; templates draw the SVG.

Time runs with the page: from left to right, or from right to left where one reads so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.feedback.figures import FEW, Span
from edge.feedback.intervals import Share

WIDTH, HEIGHT = 720.0, 260.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 16.0, 16.0, 48.0


@dataclass(frozen=True, slots=True)
class Mark:
    """A share in one month: `x`, `y` of the value, `high` and `low` of its interval, in pixels.

    `few`: counted on so few cases that it is drawn hollow.
    """

    x: float
    y: float
    high: float
    low: float
    few: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """A line across, at a share from 0 to 1."""

    y: float
    share: float


@dataclass(frozen=True, slots=True)
class Month:
    """A month's place on the axis and its figure, None where nothing was counted."""

    x: float
    span: Span
    share: Share | None
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class SharePlot:
    """Shares over months."""

    months: tuple[Month, ...]
    ticks: tuple[Tick, ...]
    axis: float

    @property
    def line(self) -> str:
        """The points that a line joins, for SVG's ``points``."""
        return " ".join(f"{one.mark.x:.1f},{one.mark.y:.1f}" for one in self.months if one.mark)


@dataclass(frozen=True, slots=True)
class Bar:
    """A bin's two bars side by side, in pixels, and its shares (0 to 1)."""

    low: float
    high: float
    middle: float
    reference: float
    recent: float
    reference_x: float
    recent_x: float
    reference_y: float
    recent_y: float


@dataclass(frozen=True, slots=True)
class BarPlot:
    """Two histograms side by side."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    width: float
    floor: float


def share_plot(months: Sequence[tuple[Span, Share | None]], *, rtl: bool) -> SharePlot:
    """Place shares over months, the oldest first."""
    step = (WIDTH - LEFT - RIGHT) / max(1, len(months))
    placed = []
    for number, (span, share) in enumerate(months):
        x = _mirrored(LEFT + step * (number + 0.5), rtl=rtl)
        mark = None
        if share is not None:
            mark = Mark(x, _y(share.value), _y(share.high), _y(share.low), share.n < FEW)
        placed.append(Month(x, span, share, mark))
    axis = WIDTH - LEFT if rtl else LEFT
    return SharePlot(tuple(placed), tuple(Tick(_y(n / 4), n / 4) for n in range(5)), axis)


def bar_plot(reference: Sequence[int], recent: Sequence[int], *, rtl: bool) -> BarPlot:
    """Place two histograms of the same bins; each bar is a share of its own histogram."""
    shares = [(_share(reference, place), _share(recent, place)) for place in range(len(reference))]
    most = max((max(pair) for pair in shares), default=0.0)
    top = next(limit for limit in (0.25, 0.5, 0.75, 1.0) if most <= limit + 1e-9)
    step = (WIDTH - LEFT - RIGHT) / len(shares)
    width = step * 0.36
    bars = []
    for place, (before, now) in enumerate(shares):
        middle = _mirrored(LEFT + step * (place + 0.5), rtl=rtl)
        first = middle + (2 if rtl else -width - 2)
        second = middle + (-width - 2 if rtl else 2)
        bars.append(
            Bar(
                low=place / len(shares),
                high=(place + 1) / len(shares),
                middle=middle,
                reference=before,
                recent=now,
                reference_x=first,
                recent_x=second,
                reference_y=_y(before / top),
                recent_y=_y(now / top),
            )
        )
    ticks = tuple(Tick(_y(n / 2), top * n / 2) for n in range(3))
    return BarPlot(tuple(bars), ticks, width, _y(0.0))


def _y(share: float) -> float:
    return TOP + (1.0 - share) * (HEIGHT - TOP - BOTTOM)


def _mirrored(x: float, *, rtl: bool) -> float:
    return WIDTH - x if rtl else x


def _share(histogram: Sequence[int], place: int) -> float:
    total = sum(histogram)
    return histogram[place] / total if total else 0.0
