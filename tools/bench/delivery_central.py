"""A central server as a process of its own that writes down when each alert was stored.

``python -m tools.bench.delivery_central KEYS PORT DATABASE NAME LOG`` is the subscriber of
`scanside-central run` on a share of the alerts. It writes a line for each new one: device,
sequence, and the moment after its transaction (`time.monotonic`, which the processes of a machine
share).
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from pathlib import Path

from edge.alerts.broker import BrokerSettings
from edge.keys import CentralKeys
from tools.broker import HOST
from tools.central.database import open_database
from tools.central.rules import Rules
from tools.central.store import AlertStore
from tools.central.subscriber import Received, Subscriber
from tools.central.trust import TrustWatch

READY = "ready"


def main() -> int:
    """Receive until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("keys", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("database")
    parser.add_argument("name")
    parser.add_argument("log", type=Path)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with options.log.open("a") as log:

        def on_alert(received: Received) -> None:
            record = received.record
            log.write(f"{record.device} {record.sequence} {time.monotonic():.6f}\n")

        def on_turn() -> None:
            log.flush()
            if subscriber.deaf_since is None and not said:
                said.append(READY)
                print(READY, flush=True)

        said: list[str] = []
        subscriber = Subscriber(
            BrokerSettings(HOST, options.port, options.name),
            CentralKeys.load(options.keys),
            TrustWatch(options.keys),
            AlertStore(open_database(options.database), owner=options.name),
            on_alert=on_alert,
            on_turn=on_turn,
            rules=Rules(share="bench"),
        )
        signal.signal(signal.SIGTERM, lambda *_: subscriber.stop())
        subscriber.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
