"""One part of the check and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tools.bench.report import Row

State = Literal["passed", "failed", "could not run"]


@dataclass(frozen=True, slots=True)
class Part:
    """What came of one part.

    Parameters
    ----------
    name : str
        What was checked.
    state : str
        ``passed``, ``failed`` or ``could not run``.
    said : str
        What was found; for a part that could not run, what is missing.
    rows : tuple of Row
        Figures.
    """

    name: str
    state: State
    said: str
    rows: tuple[Row, ...] = ()


def passed(name: str, said: str, *rows: Row) -> Part:
    """Return a part that held."""
    return Part(name, "passed", said, rows)


def failed(name: str, said: str, *rows: Row) -> Part:
    """Return a part that did not."""
    return Part(name, "failed", said, rows)


def not_run(name: str, lacks: str) -> Part:
    """Return a part that could not be tried."""
    return Part(name, "could not run", lacks)
