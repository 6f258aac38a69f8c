"""Figures of a central server, for Prometheus. No patient, UID or finding is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from edge.keys import TrustedDevices
from tools.central import overview
from tools.central.database import Database, DatabaseError
from tools.central.subscriber import Counts


class Figures(Collector):
    """Read when somebody asks: counts since the start, and what stands in the database.

    Parameters
    ----------
    database : Database
        A connection of its own.
    counts : Counts
    trusted : callable
        Returns the devices that are believed.
    """

    def __init__(
        self, database: Database, counts: Counts, trusted: Callable[[], TrustedDevices]
    ) -> None:
        self._database = database
        self._counts = counts
        self._trusted = trusted

    def collect(self) -> Iterator[Metric]:
        """Yield every figure."""
        counts = self._counts
        received = CounterMetricFamily(
            "scanside_central_alerts", "Authentic alerts, by what they were.", labels=["standing"]
        )
        received.add_metric(["new"], counts.accepted)
        received.add_metric(["repeat"], counts.repeats)
        yield received
        yield CounterMetricFamily(
            "scanside_central_receipts", "Receipts the broker has taken.", value=counts.receipts
        )
        refused = CounterMetricFamily(
            "scanside_central_refused", "Messages refused, by reason.", labels=["reason"]
        )
        for reason, count in sorted(counts.refused.items(), key=lambda pair: pair[0].value):
            refused.add_metric([reason.value], count)
        yield refused
        try:
            yield from self._standing()
            works = 1
        except DatabaseError:
            works = 0
        yield GaugeMetricFamily(
            "scanside_central_database", "Whether the database answers.", value=works
        )

    def _standing(self) -> Iterator[Metric]:
        rows = overview.devices(self._database, self._trusted())
        online = GaugeMetricFamily(
            "scanside_central_devices", "Devices that are believed, by state.", labels=["state"]
        )
        believed = [row for row in rows if row.believed]
        online.add_metric(["online"], sum(row.online is True for row in believed))
        online.add_metric(["offline"], sum(row.online is False for row in believed))
        online.add_metric(["never heard"], sum(row.online is None for row in believed))
        yield online
        yield GaugeMetricFamily(
            "scanside_central_missing",
            "Alerts that are missing between others.",
            value=sum(row.missing for row in rows),
        )
        waiting = GaugeMetricFamily(
            "scanside_central_hand_on", "Alerts to be handed on.", labels=["target", "state"]
        )
        for target, (due, aside) in sorted(overview.hand_on_backlog(self._database).items()):
            waiting.add_metric([target, "waiting"], due)
            waiting.add_metric([target, "set aside"], aside)
        yield waiting
        lasting = GaugeMetricFamily(
            "scanside_central_events", "What central has to say and still lasts.", labels=["kind"]
        )
        kinds = [row.kind for row in overview.events(self._database, 1000, lasting=True)]
        for kind in sorted(set(kinds)):
            lasting.add_metric([kind], kinds.count(kind))
        yield lasting


def serve(figures: Figures, host: str, port: int) -> Callable[[], None]:
    """Serve figures over HTTP from a thread; return what ends it.

    Raises
    ------
    OSError
        When the port is taken.
    """
    registry = CollectorRegistry()
    registry.register(figures)
    server, thread = start_http_server(port, host, registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
