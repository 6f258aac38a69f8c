"""A store with a study in it, and a courier that brings what is said of it to a PACS."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from arrivals import DEVICE_KEY, arrival, open_store
from builders import ct_slice
from findings import finding, series
from pacs import HOST, TITLE, wait_until
from prometheus_client import CollectorRegistry
from reporting import DEVICE, report

from edge.audit import Audit, read_entries
from edge.config import Results
from edge.keys import init_device
from edge.metrics import Metrics
from edge.results.courier import Courier, CourierState
from edge.results.desk import Desk
from edge.results.pacs import Pacs
from edge.results.report import Report
from edge.store.documents import Documents
from edge.store.heatmaps import heatmaps
from edge.store.records import Receipt
from edge.store.studies import Store

BLEED = report(series(finding(0.9)))
_NUMBERS = itertools.count()


@dataclass
class Sending:
    """What stands between a decision and the PACS."""

    store: Store
    documents: Documents
    desk: Desk
    courier: Courier
    audit: Audit
    metrics: Metrics
    states: list[CourierState]
    kept: list[Receipt] = field(default_factory=list)

    def take_in(self, *files: bytes, study: str = "1.2.826.0.1.3680043.10.1") -> Receipt:
        """Keep images of a study; one head CT slice if none is given."""
        for number, data in enumerate(files or (ct_slice(study=study),), start=1):
            self.kept.append(self.store.keep(arrival(number, study=study), data))
        return self.kept[-1]

    def say(
        self, of: Report = BLEED, *, receipt: Receipt | None = None, replaces: bool = False
    ) -> None:
        """Queue what is said of the study that came last, as the herald does."""
        receipt = receipt or self.kept[-1]
        with self.store.journal.transaction():
            self.desk.keep(receipt.study_id, receipt.key, of, replaces=replaces)
        self.courier.wake()

    def all_stored(self) -> bool:
        """Wait until nothing waits, and return whether all is in the PACS."""
        wait_until(lambda: self.documents.standing().waiting == 0)
        standing = self.documents.standing()
        return standing.waiting == standing.refused == 0

    @property
    def answers(self) -> list[str]:
        """What came of each object, in the order they were made."""
        return [one.answer for one in reversed(self.documents.latest(100))]

    @property
    def audited(self) -> list[tuple[str, str]]:
        """What the audit says of sent objects."""
        acts = [one.act for one in read_entries(self.store.journal, 1000)]
        return [(one.on, one.outcome) for one in acts if one.what == "result.sent"]


def settings(port: int, **changes: Any) -> Results:
    """Return ``[results]`` for a PACS on this machine."""
    return Results(
        **{
            "host": HOST,
            "port": port,
            "ae_title": TITLE,
            "enabled": True,
            "timeout_s": 5,
            **changes,
        }
    )


@contextmanager
def sending(folder: Path, to: Results, *, calling: str = "SCANSIDE") -> Iterator[Sending]:
    """Open a store and run a courier; both end with the test."""
    with ExitStack() as cleanup:
        store = cleanup.enter_context(open_store(folder))
        keys = init_device(
            folder.parent / f"{folder.name}-keys-{next(_NUMBERS)}", device="ct-1", site="north"
        )
        documents = Documents(store.journal)
        audit = Audit(store.journal, lambda: keys.signing)
        metrics = Metrics(CollectorRegistry())
        states: list[CourierState] = []
        courier = Courier(Pacs(to, calling), documents, store.study, audit, metrics, states.append)
        cleanup.callback(courier.stop)
        courier.start()
        desk = Desk(documents, DEVICE, to, partial(heatmaps, store.journal, DEVICE_KEY))
        yield Sending(store, documents, desk, courier, audit, metrics, states)


def no_thread_is_left(before: set[threading.Thread]) -> bool:
    """Return whether all threads that were begun since have ended."""
    return wait_until(lambda: not set(threading.enumerate()) - before, 20.0)
