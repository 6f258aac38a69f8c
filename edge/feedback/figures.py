"""From counted verdicts to figures: positive predictive value and agreement, over time. Pure.

What is counted is a verdict a physician gave on a finding, by day, without patient or study:
see `edge.store.feedback`. Each physician's last word on a finding counts once. "Unsure" is
counted by itself and is in no share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from edge.feedback.intervals import Share, wilson
from edge.store.feedback import Subject, Verdict, VerdictCount

# Below so many judged cases a share is shown as too few to say, not as a figure.
FEW = 5


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted in a span of days.

    Parameters
    ----------
    ppv : Share or None
        Of the flagged findings that were judged, how many were agreed with.
    agreement : Share or None
        Of all that were judged, flagged or not.
    missed : int
        Not flagged, and a physician disagreed.
    unsure : int
    """

    ppv: Share | None
    agreement: Share | None
    missed: int
    unsure: int


@dataclass(frozen=True, slots=True)
class Span:
    """A calendar month (`first` is its first day) and what was counted in it."""

    first: date
    figures: Figures


def subjects(counts: Iterable[VerdictCount]) -> tuple[Subject, ...]:
    """Return what was judged at all, by name, the latest version first."""
    seen = {count.subject: None for count in counts}
    return tuple(sorted(seen, key=lambda one: (one.model, one.code, _newest_first(one.version))))


def figures(counts: Iterable[VerdictCount]) -> Figures:
    """Return the figures of counts that belong together."""
    table = {(flagged, verdict): 0 for flagged in (True, False) for verdict in Verdict}
    for count in counts:
        table[count.flagged, count.verdict] += count.number
    right, wrong = table[True, Verdict.AGREE], table[True, Verdict.DISAGREE]
    agreed = right + table[False, Verdict.AGREE]
    missed = table[False, Verdict.DISAGREE]
    return Figures(
        ppv=wilson(right, right + wrong),
        agreement=wilson(agreed, agreed + wrong + missed),
        missed=missed,
        unsure=table[True, Verdict.UNSURE] + table[False, Verdict.UNSURE],
    )


def by_month(counts: Sequence[VerdictCount], *, today: date, months: int) -> tuple[Span, ...]:
    """Return the figures of each of the last months, the oldest first; empty months too."""
    first = today.replace(day=1)
    firsts = [first]
    while len(firsts) < months:
        first = (first - timedelta(days=1)).replace(day=1)
        firsts.append(first)
    return tuple(
        Span(
            start,
            figures(
                count
                for count in counts
                if (count.day.year, count.day.month) == (start.year, start.month)
            ),
        )
        for start in reversed(firsts)
    )


def _newest_first(version: str) -> tuple[int, ...]:
    return tuple(-int(part) if part.isdecimal() else 0 for part in version.split("."))
