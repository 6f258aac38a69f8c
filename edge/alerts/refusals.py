"""Messages that are refused: counted each, and written down so that a flood fills nothing."""

from __future__ import annotations

import logging
from collections import Counter

from edge.audit import DAEMON, Act, Audit
from edge.jose.envelope import SealError
from edge.metrics import Metrics

log = logging.getLogger("scanside.alerts")


class Refusals:
    """Counts what is refused of one kind. Used by one thread.

    Parameters
    ----------
    what : str
        ``receipt``, ``keys``: for the metric and the audit.
    audit : Audit
    metrics : Metrics
    """

    def __init__(self, what: str, audit: Audit, metrics: Metrics) -> None:
        self._what = what
        self._audit = audit
        self._metrics = metrics
        self._counts: Counter[str] = Counter()

    def note(self, error: SealError) -> None:
        """Count a refusal; the 1st, 10th, 100th of a reason also stand in the audit and the log."""
        reason = error.reason.value
        self._metrics.refusals.labels(self._what, reason).inc()
        self._counts[reason] += 1
        count = self._counts[reason]
        if str(count).strip("0") == "1":
            log.warning("%s refused, %d so far: %s", self._what, count, error)
            self._audit.note(
                Act(DAEMON, f"{self._what}.refused", outcome=f"{reason}, {count} so far")
            )
