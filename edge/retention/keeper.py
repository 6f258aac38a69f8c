"""The keeper: a thread that carries out orders to erase, and erases what was kept long enough."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time

from edge.metrics import Metrics
from edge.retention.eraser import Eraser
from edge.store.erasure import OWN, Erased, Order
from edge.store.journal import Journal
from edge.store.keeping import Rule, to_go

log = logging.getLogger("scanside.retention")

_ROUND_S = 0.5
_LOOK_S = 60.0


class Keeper:
    """Lives as long as the daemon.

    Parameters
    ----------
    eraser : Eraser
    journal : Journal
    rule : Rule
    metrics : Metrics
    """

    def __init__(self, eraser: Eraser, journal: Journal, rule: Rule, metrics: Metrics) -> None:
        self._eraser = eraser
        self._journal = journal
        self._rule = rule
        self._metrics = metrics
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper")

    def start(self) -> None:
        """Start the thread; it begins with what a crash left."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after the study that it is at."""
        self._stopping.set()
        self._thread.join()

    @property
    def running(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    @property
    def tidying(self) -> bool:
        """Whether the journal may be held for long: it is being written anew."""
        return self._eraser.tidying

    def _run(self) -> None:
        self._eraser.tidy()
        next_look = time.monotonic()
        while not self._stopping.wait(_ROUND_S):
            look = time.monotonic() >= next_look
            self._round(look=look)
            if look:
                next_look = time.monotonic() + _LOOK_S

    def _round(self, *, look: bool) -> None:
        try:
            self._metrics.erased.labels("order").inc(self._eraser.carry_out())
            if look:
                self.enforce()
        except sqlite3.OperationalError as error:  # a full disk: when there is room again
            log.warning("The journal cannot be written; nothing is erased now: %s", error)

    def enforce(self) -> None:
        """Erase what is kept no longer, then tidy up."""
        for study_id, reason in to_go(self._journal, self._rule, time.time()):
            if self._stopping.is_set():
                return
            # What cannot go now is looked at again the next time.
            if isinstance(self._eraser.erase(Order(study_id, OWN, reason)), Erased):
                self._metrics.erased.labels("retention").inc()
        self._eraser.tidy()
