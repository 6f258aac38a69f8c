"""A device as a process of its own: the appliance's own journal, outbox, publisher and receipts.

``python -m tools.bench.delivery_device FOLDER PORT TOTAL PER_SECOND`` makes alerts until the
journal has `TOTAL` of them, and publishes until it is killed; started again, it goes on. For each
alert it writes the sequence and the moment it was committed to ``made.log``.
"""

from __future__ import annotations

import argparse
import logging
import sys
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from prometheus_client import CollectorRegistry

from edge.alerts.broker import BrokerSettings, TlsSettings
from edge.alerts.message import (
    Alert,
    Code,
    FindingResult,
    ModelRef,
    Patient,
    SeriesRef,
    StudyRef,
    Timing,
    new_id,
)
from edge.alerts.publisher import Publisher
from edge.alerts.reception import ReceiptRules, Reception
from edge.alerts.sealing import body_digest, seal
from edge.audit import Audit
from edge.keys import DeviceKeys, KeyRing, KeySet, pseudonym
from edge.metrics import Metrics
from edge.store.journal import Journal
from edge.store.outbox import NewAlert, Outbox
from edge.store.settling import Settlements
from edge.timestamps import rfc3339
from tools.broker import HOST

JOURNAL = "journal.db"
MADE = "made.log"
URGENCIES = ("critical", "urgent", "routine")


@dataclass(frozen=True)
class Place:
    """A device's folder: ``keys``, ``tls`` with ca.pem, device.pem and device.key, the journal."""

    folder: Path

    @property
    def keys(self) -> Path:
        """The device's keys."""
        return self.folder / "keys"

    def settings(self, port: int, client_id: str) -> BrokerSettings:
        """Return how the device reaches the broker."""
        tls = self.folder / "tls"
        files = TlsSettings(tls / "ca.pem", tls / "device.pem", tls / "device.key")
        return BrokerSettings(
            HOST, port, client_id, tls=files if tls.exists() else None, keepalive_s=5
        )


def an_alert(keys: DeviceKeys, sequence: int, urgency: str) -> Alert:
    """Return an alert such as the appliance makes of a head CT."""
    now = rfc3339(datetime.now(timezone.utc))
    finding = FindingResult(
        code=Code("SCT", "1386000", "Intracranial hemorrhage"),
        label="Intracranial hemorrhage",
        probability=0.93,
        threshold=0.5,
        flagged=True,
        abstained=False,
        series_uid="1.2.3.4",
        key_image_uid=None,
        location=None,
        model="head-ct-hemorrhage",
    )
    series = SeriesRef("1.2.3.4", "CT", "HEAD", 40, True, "count", None)
    return Alert(
        id=new_id(),
        sequence=sequence,
        device=keys.device,
        site=keys.site,
        created=now,
        status="final",
        supersedes=None,
        urgency=urgency,
        outcome="flagged",
        reasons=(),
        patient=Patient(pseudonym(keys.pseudonym, "bench", f"P-{sequence}")),
        study=StudyRef(f"1.2.3.{sequence}", (series,), now),
        findings=(finding,),
        model=(ModelRef("head-ct-hemorrhage", "0.1.0", "a" * 64, "fp32", "onnxruntime"),),
        quality=(),
        timing=Timing(now, now, now, now, 400.0),
    )


def sealed(keys: KeySet, alert: Alert) -> NewAlert:
    """Return an alert as it goes into the outbox."""
    body = alert.to_json()
    message = seal(
        body,
        signer=keys.own.signing,
        device=alert.device,
        sequence=alert.sequence,
        created=alert.created,
        recipients=keys.readers,
    )
    return NewAlert(alert.id, alert.urgency, message, body_digest(body), keys.readers_names)


def main() -> int:
    """Make alerts and publish them until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("total", type=int)
    parser.add_argument("per_second", type=float)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    place = Place(options.folder)
    ring = KeyRing(place.keys)
    own = ring.current.own
    journal = Journal(place.folder / JOURNAL)
    outbox = Outbox(journal)
    metrics = Metrics(CollectorRegistry())
    publisher = Publisher(
        place.settings(options.port, f"scanside-{own.device}"),
        outbox,
        device=own.device,
        site=own.site,
        on_state=lambda _: None,
        incoming=Reception(
            ring,
            ReceiptRules(),
            Settlements(journal),
            audit=Audit(journal, lambda: ring.current.own.signing),
            metrics=metrics,
        ),
        metrics=metrics,
    )
    publisher.start()
    with (place.folder / MADE).open("a", buffering=1) as made:
        sequence = 0
        began = time.monotonic()
        count = 0
        while sequence < options.total:
            count += 1
            time.sleep(max(0.0, began + count / options.per_second - time.monotonic()))
            if sequence == 0 and _last(journal) >= options.total:
                break
            sequence = outbox.record_drill(
                lambda number: sealed(
                    ring.current,
                    an_alert(ring.current.own, number, URGENCIES[number % len(URGENCIES)]),
                )
            )
            made.write(f"{sequence} {time.monotonic():.6f}\n")
            publisher.wake()
    threading.Event().wait()
    return 0


def _last(journal: Journal) -> int:
    with journal.reading() as read:
        (last,) = read.execute("SELECT COALESCE(MAX(sequence), 0) FROM outbox").fetchone()
    return int(last)


if __name__ == "__main__":
    sys.exit(main())
