"""The drill: a test alarm that goes the whole way of an alert, to see that the way is open.

It is sealed, numbered, sent, stored and receipted as any alert is, with the urgency ``drill``;
nobody's images are in it, and it says so. A server that is told how often to expect one knows
from its absence that something between here and there is broken.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import datetime, timezone

from edge.alerts.message import Alert, AuditHead, Patient, StudyRef, Timing, new_id
from edge.alerts.reception import ReceiptRules
from edge.alerts.sealing import body_digest, seal
from edge.audit import Act, Anchor, Audit
from edge.keys import KeySet
from edge.store.outbox import NewAlert, Outbox
from edge.timestamps import rfc3339

NOBODY = "DRILLDRILLDRILLDRILLDRILLD"  # in place of a pseudonym: 26 characters, no patient's
REASON = "This is a drill. There is no patient and no study."


def compose_drill(sequence: int, device: str, site: str, head: Anchor) -> Alert:
    """Return a test alarm. `head` is the head of the device's audit."""
    now = rfc3339(datetime.now(timezone.utc))
    return Alert(
        id=new_id(),
        sequence=sequence,
        device=device,
        site=site,
        created=now,
        status="final",
        supersedes=None,
        urgency="drill",
        outcome="not_analysed",
        reasons=(REASON,),
        patient=Patient(NOBODY),
        # A UID of its own (PS3.5 section B.2), so that it can be taken for no study's.
        study=StudyRef(f"2.25.{uuid.uuid4().int}", (), None),
        findings=(),
        model=(),
        quality=(),
        timing=Timing(None, None, now, now, 0.0),
        audit=AuditHead(head.entries, head.digest),
    )


def send_drill(outbox: Outbox, audit: Audit, keys: KeySet, rules: ReceiptRules, who: str) -> int:
    """Put a test alarm into the outbox; return its sequence number.

    Parameters
    ----------
    outbox : Outbox
    audit : Audit
        Of the same journal.
    keys : KeySet
        Signs, and says whom it is for.
    rules : ReceiptRules
    who : str
        Who asked for it, for the audit.
    """

    def make_alert(sequence: int) -> NewAlert:
        head = audit.note(Act(who, "drill.made", f"alert:{sequence}"))
        alert = compose_drill(sequence, keys.own.device, keys.own.site, head)
        body = alert.to_json()
        sealed = seal(
            body,
            signer=keys.own.signing,
            device=alert.device,
            sequence=sequence,
            created=alert.created,
            recipients=keys.readers,
        )
        owed_by = rules.owed_by(keys.readers_names)
        return NewAlert(alert.id, alert.urgency, sealed, body_digest(body), owed_by)

    return outbox.record_drill(make_alert)


class DrillSchedule:
    """Sends a drill when the last one is old enough, also across restarts. Used by one thread.

    Parameters
    ----------
    outbox : Outbox
        Remembers the last.
    every_s : float
        0: never.
    send : callable
        Sends one.
    """

    def __init__(self, outbox: Outbox, every_s: float, send: Callable[[], None]) -> None:
        self._outbox = outbox
        self._every_s = every_s
        self._send = send
        self._due: float | None = None

    def look(self) -> None:
        """Send a drill if it is due."""
        if self._every_s <= 0:
            return
        now = time.time()
        if self._due is None:
            last = self._outbox.last_drill()
            self._due = now if last is None else last + self._every_s
        # A clock that was put back must not hold the drills until it is there again.
        if now >= self._due or self._due > now + self._every_s:
            self._send()
            self._due = now + self._every_s
