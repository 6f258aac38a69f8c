"""Slices in a store, and what a worker says of them."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from arrivals import arrival
from builders import ct_slice

from edge.analysis.messages import Close, Closed, Load, Loaded, Look, Looked, Reply, Request
from edge.analysis.worker_link import Replied, WorkerGone, WorkerLink
from edge.store.records import Receipt
from edge.store.studies import Store
from engines import shipped_packages

PACKAGE = "head-ct-hemorrhage"
LOAD = Load(PACKAGE, shipped_packages() / PACKAGE, threads=1)
PATIENCE_S = 60.0
Scores = dict[tuple[int, int], tuple[float, ...]]


def keep_slices(store: Store, count: int, *, seed: int = 1) -> list[Receipt]:
    """Store an axial CT of noise that differs from slice to slice."""
    noise = np.random.default_rng(seed)
    return [
        store.keep(
            arrival(number),
            ct_slice(
                number=number,
                position_mm=5.0 * number,
                stored=noise.integers(1000, 1100, (64, 64), np.uint16),
            ),
        )
        for number in range(count)
    ]


def look(receipt: Receipt, *, package: str = PACKAGE) -> Look:
    """Return the request to look at a stored instance."""
    return Look(
        study=receipt.study_id,
        series=receipt.series_id,
        instance=receipt.instance.id,
        package=package,
        modality="CT",
        record=receipt.instance.record,
        key=receipt.key.raw,
        order=float(receipt.instance.id),
    )


def close(receipt: Receipt) -> Close:
    return Close(receipt.study_id, receipt.series_id, 0)


class Linked:
    """A worker process at the end of its link, and what it said."""

    def __init__(self, slice_timeout_s: float) -> None:
        self._told: queue.SimpleQueue[Replied | WorkerGone] = queue.SimpleQueue()
        self.link = WorkerLink(
            self._told.put, slice_timeout_s=slice_timeout_s, load_timeout_s=PATIENCE_S
        )

    def told(self) -> Replied | WorkerGone:
        """Return the next that the link tells."""
        return self._told.get(timeout=PATIENCE_S)

    def reply(self) -> Reply:
        """Return the next reply, and let the link go on."""
        told = self.told()
        assert isinstance(told, Replied), told
        self.link.answered()
        return told.reply

    def ask(self, *requests: Request) -> list[Reply]:
        """Ask, and return the replies."""
        for request in requests:
            self.link.ask(request)
        return [self.reply() for _ in requests]


@contextmanager
def linked_worker(*, slice_timeout_s: float = PATIENCE_S) -> Iterator[Linked]:
    """Start a worker that has loaded the package that ships."""
    linked = Linked(slice_timeout_s)
    linked.link.start()
    try:
        (loaded,) = linked.ask(LOAD)
        assert isinstance(loaded, Loaded)
        assert loaded.failure is None
        yield linked
    finally:
        linked.link.stop()


def scores_of(replies: Iterable[Reply]) -> Scores:
    """Return the last score of each slice."""
    return {
        (score.instance, score.frame): score.probabilities
        for reply in replies
        if isinstance(reply, (Looked, Closed))
        for score in reply.scores
    }
