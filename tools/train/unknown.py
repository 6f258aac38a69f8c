"""What a model does not know, as its description and its card tell it."""

from __future__ import annotations

from dataclasses import dataclass

from tools.train.acquaint import DISTANCE

HEADING = "## What it does not know"


@dataclass(frozen=True, slots=True)
class Turned:
    """Pictures of one kind, and how many of them are turned away."""

    kind: str
    count: int
    away: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """Where a model stops to judge, and what that was measured on.

    Parameters
    ----------
    limit : float
        Of the distance from the training pictures.
    strangers : tuple of Turned
        Pictures that it should not judge, none of which it was shown.
    own : Turned
        Pictures of the right kind, which it should.
    """

    limit: float
    strangers: tuple[Turned, ...]
    own: Turned


def familiar(unknown: Unknown) -> str:
    """Return the table of `model.toml`, with the empty line after it."""
    return f'[familiar]\noutput = "{DISTANCE}"\nlimit = {unknown.limit}\n\n'


def section(unknown: Unknown) -> str:
    """Return the section of the card."""
    count = sum(one.count for one in unknown.strangers)
    away = sum(one.away for one in unknown.strangers)
    own = unknown.own
    rows = "\n".join(_row(one) for one in unknown.strangers)
    return f"""{HEADING}

A picture farther than {unknown.limit:g} from the training pictures, or beyond the border to
the strangers that it was shown, is not judged: the findings abstain and the alert says why.
{away / max(count, 1):.1%} of {count} pictures that it should not judge were turned away, and
{own.away / max(own.count, 1):.1%} of {own.count} {own.kind}, which it should.
Strangers of the same kinds were shown, and none of those that measure; what the simulated scanner
draws of the model's own body part counts as familiar.

| pictures it should not judge | n | abstained |
|---|---|---|
{rows}
"""


def _row(turned: Turned) -> str:
    return f"| {turned.kind} | {turned.count} | {turned.away / max(turned.count, 1):.0%} |"
