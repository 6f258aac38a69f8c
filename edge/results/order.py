"""What the daemon asks of the process that makes objects."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.results.desk import Content
from edge.store.documents import Kind
from edge.store.spool import Record


@dataclass(frozen=True, slots=True)
class Order:
    """An object to make.

    Parameters
    ----------
    kind : Kind
    content : Content
    records : dict
        Where the images are that it refers to, by their ids in the journal.
    key : bytes
        The study's.
    """

    kind: Kind
    content: Content = field(repr=False)
    records: dict[int, Record]
    key: bytes = field(repr=False)
