"""What is handed on, and to whom it can be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tools.central.records import Record


class HandOnError(RuntimeError):
    """It was not taken now. The text says why and holds nothing of the alert."""


@dataclass(frozen=True)
class Item:
    """An alert, or something that central itself has to say.

    Parameters
    ----------
    number : int
        Its place in the queue.
    key : str
        The same whenever the same is handed on again: an alert's id, or an event's.
    document : dict
        JSON-ready.
    alert : dict or None
        The alert's body; None for an event.
    """

    number: int
    key: str
    document: dict[str, Any]
    alert: dict[str, Any] | None


class Target(Protocol):
    """Somebody who is told."""

    name: str
    at_once: int  # how many items it takes in one go
    takes_events: bool

    def give(self, items: Sequence[Item]) -> None:
        """Hand items on; when it returns, they were taken.

        Raises
        ------
        HandOnError
            When they were not. They will be tried again.
        """


def document_of(record: Record) -> dict[str, Any]:
    """Return an alert as it is handed on."""
    return {
        "received": record.received,
        "device": record.device,
        "site": record.site,
        "sequence": record.sequence,
        "kid": record.kid,
        "created": record.created,
        "alert": json.loads(record.body),
        "problem": record.problem,
    }


def as_line(record: Record) -> str:
    """Return an alert as one line of JSON."""
    return dump(document_of(record)) + "\n"


def dump(document: dict[str, Any]) -> str:
    """Return a document as JSON on one line."""
    # In this order a person who opens the file sees first who and when.
    return json.dumps(document, separators=(",", ":"))
