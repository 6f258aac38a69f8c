"""What comes back from central servers: receipts that settle alerts, and what to do without.

Everything here is called from the publisher's thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.alerts.receipt import StoredAlert, open_receipt
from edge.alerts.refusals import Refusals
from edge.alerts.rotation import keys_message
from edge.alerts.successors import CentralSuccessors
from edge.alerts.topics import central_keys_filter, receipt_topic
from edge.audit import DAEMON, Act, Audit
from edge.jose.envelope import Refusal, SealError
from edge.keys import KeyRing
from edge.metrics import Metrics
from edge.store.outbox import as_outbox_error
from edge.store.settling import Effect, ReceivedReceipt, Settlements

log = logging.getLogger("scanside.alerts")

DRILL_LAPSES_S = 3600.0  # an exercise that comes an hour late would only confuse
_ROUND_S = 1.0


@dataclass(frozen=True, slots=True)
class ReceiptRules:
    """Whose receipts an alert needs, and how long it waits for them.

    Parameters
    ----------
    wanted : bool
        Off: the broker's acknowledgement settles an alert.
    only_from : tuple of str
        The servers that owe a receipt, by name; empty: each that an alert is sealed for.
    escalate_after_s : float
    """

    wanted: bool = True
    only_from: tuple[str, ...] = ()
    escalate_after_s: float = 300.0

    def owed_by(self, readers: Sequence[str]) -> tuple[str, ...]:
        """Return which of the servers that an alert is sealed for owe a receipt."""
        if not self.wanted:
            return ()
        return tuple(name for name in readers if not self.only_from or name in self.only_from)


class Reception:
    """Takes receipts in, and looks after the alerts that have none.

    Parameters
    ----------
    ring : KeyRing
        Who we are, and whose receipts count.
    rules : ReceiptRules
    settlements : Settlements
    audit : Audit
    metrics : Metrics
    drill : callable
        Called once a second: sends a drill when one is due.
    """

    def __init__(
        self,
        ring: KeyRing,
        rules: ReceiptRules,
        settlements: Settlements,
        *,
        audit: Audit,
        metrics: Metrics,
        drill: Callable[[], None] = lambda: None,
    ) -> None:
        self._ring = ring
        self._rules = rules
        self._settlements = settlements
        self._audit = audit
        self._metrics = metrics
        self._drill = drill
        self._refusals = Refusals("receipt", audit, metrics)
        self._successors = CentralSuccessors(ring, audit, metrics)
        self._next_round = 0.0
        self._readers: tuple[str, ...] | None = None
        own = ring.current.own
        self._receipts = receipt_topic(own.site, own.device)

    @property
    def topics(self) -> tuple[str, ...]:
        """What to subscribe to: our receipts, and the new keys of servers."""
        return (self._receipts, central_keys_filter())

    def take(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Learn new keys of servers, and settle what receipts say is stored, with one commit."""
        for topic, message in messages:
            if topic != self._receipts:
                self._successors.learn(message)
        receipts = [message for topic, message in messages if topic == self._receipts]
        told = [one for message in receipts for one in self._open(message)]
        if not told:
            return
        now = time.time()
        for receipt, answer in zip(told, self._settlements.settle(told), strict=True):
            self._metrics.receipts.labels(answer.effect.value).inc()
            if answer.effect is Effect.SETTLED:
                self._metrics.settled_s.observe(now - answer.created)
                if answer.urgency == "drill":
                    self._metrics.drills.labels("settled").inc()
            elif answer.effect is Effect.NO_SUCH_ALERT:
                # Signed, but not about what was sent: of a former journal, or gone wrong.
                text = f"alert {receipt.sequence} was not sent like this"
                with as_outbox_error():
                    self._refusals.note(SealError(Refusal.MISMATCH, text))

    def _open(self, message: bytes) -> list[ReceivedReceipt]:
        """Return what a receipt says; nothing when it is refused."""
        keys = self._ring.current
        try:
            opened = open_receipt(
                message,
                me=keys.own.opening,
                site=keys.own.site,
                device=keys.own.device,
                trusted=keys.centrals,
            )
        except SealError as error:
            with as_outbox_error():
                self._refusals.note(error)
            return []
        central = opened.receipt.central
        return [_received(central, opened.kid, alert) for alert in opened.receipt.alerts]

    def announcement(self) -> bytes | None:
        """Return what tells of this device's new keys; None when it never had others."""
        return keys_message(self._ring.current.own.former)

    def refresh(self) -> None:
        """See whether the key folder has changed."""
        if self._ring.refresh():
            with as_outbox_error():
                self._audit.note(Act(DAEMON, "keys.read", outcome="the key folder has changed"))

    def look_after(self) -> None:
        """Do what is due, once a second at most: new keys, escalation, drills that lapse."""
        now = time.monotonic()
        if now < self._next_round:
            return
        self._next_round = now + _ROUND_S
        self.refresh()
        self._wait_for_readers()
        self._drill()
        for sequence in self._settlements.escalate(self._rules.escalate_after_s):
            log.error("Alert %d has no receipt after %g s", sequence, self._rules.escalate_after_s)
            with as_outbox_error():
                self._audit.note(Act(DAEMON, "alert.escalated", f"alert:{sequence}", "no receipt"))
        for sequence in self._settlements.lapse_drills(DRILL_LAPSES_S):
            self._metrics.drills.labels("missed").inc()
            log.error("The drill %d was not answered", sequence)
            with as_outbox_error():
                self._audit.note(Act(DAEMON, "drill.missed", f"alert:{sequence}", "no receipt"))

    def _wait_for_readers(self) -> None:
        """Wait no more for a server that may read no more alerts."""
        owing = self._rules.owed_by(self._ring.current.readers_names)
        if owing != self._readers:
            settled = self._settlements.wait_for(owing)
            self._readers = owing
            if settled:
                log.warning("%d alerts wait for no more receipts", settled)


def _received(central: str, kid: str, alert: StoredAlert) -> ReceivedReceipt:
    return ReceivedReceipt(
        central,
        kid,
        alert.sequence,
        alert.alert_id,
        alert.digest,
        alert.stored,
        alert.status.value,
    )
