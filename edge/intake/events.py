"""What intake tells the rest of the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge.store.records import Receipt


@dataclass(frozen=True, slots=True)
class InstanceKept:
    """An instance was stored.

    Parameters
    ----------
    sender : int
        Tells associations apart.
    receipt : Receipt
        What became of it.
    series_uid : str
    about : dict
        What routes its series, as in `Arrival`.
    """

    sender: int
    receipt: Receipt
    series_uid: str
    about: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CommitmentAsked:
    """A storage commitment request named every instance of some series.

    Parameters
    ----------
    covered : mapping
        Series' ids, and how many copies each held at that moment.
    """

    covered: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A scanner reported that a procedure step completed, or was discontinued.

    Parameters
    ----------
    series : tuple of str
        UIDs of the series that it names.
    reopened : tuple of int
        Studies that were decided and must be told of anew.
    """

    series: tuple[str, ...]
    reopened: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SenderGone:
    """An association ended. `orderly`: it was released, not cut or aborted."""

    sender: int
    orderly: bool


# What the rest of the daemon hears of intake.
Heard = InstanceKept | CommitmentAsked | StepEnded | SenderGone
