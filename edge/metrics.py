"""Metrics, for Prometheus: how the appliance is, in numbers without a patient in them.

The registry is the appliance's own and is handed to whoever counts. What the journal knows
(how many studies stand where, what waits) is read when somebody asks, so that it is right
after a restart; what merely happens is counted from the start of the process, as Prometheus
expects. Labels take values from short fixed lists: never a name, a UID or a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the appliance's rooms know at the moment somebody asks.

    Parameters
    ----------
    instances : mapping
        Instances by what became of them (stored, repeated, refused), since the start.
    turned_away : int
        Associations refused, since the start.
    senders : int
        Connected now.
    commitments : mapping
        Storage commitment requests by how their answers stand.
    tls_refused : mapping
        Of them, those refused for TLS, by why.
    revocation : tuple of float, or None
        Of the list of certificates that were taken back: when it is to be replaced, seconds since
        the epoch, infinite if it does not say; and 1 where a newer one cannot be used, or 0. None:
        there is no list.
    engines : mapping
        Models of slices by whether their engine is loaded, loading, or failed.
    studies : mapping
        Studies by state.
    waiting : mapping
        Alerts that the broker has not taken, by urgency.
    unsettled : int
        Alerts that lack a receipt.
    oldest_unsettled_s : float
        Age of the oldest of them, in seconds; 0 when there is none.
    escalated : int
        Of them, those that were sent on the second topic.
    results : mapping
        Objects for the PACS by state.
    oldest_result_s : float
        Age of the oldest that waits, in seconds; 0 when none does.
    audit_entries : int
    disk_free_bytes : int
    studies_bytes : int
        What all images take.
    """

    instances: Mapping[str, int] = field(default_factory=dict)
    turned_away: int = 0
    senders: int = 0
    commitments: Mapping[str, int] = field(default_factory=dict)
    tls_refused: Mapping[str, int] = field(default_factory=dict)
    revocation: tuple[float, float] | None = None
    engines: Mapping[str, int] = field(default_factory=dict)
    studies: Mapping[str, int] = field(default_factory=dict)
    waiting: Mapping[str, int] = field(default_factory=dict)
    unsettled: int = 0
    oldest_unsettled_s: float = 0.0
    escalated: int = 0
    results: Mapping[str, int] = field(default_factory=dict)
    oldest_result_s: float = 0.0
    audit_entries: int = 0
    disk_free_bytes: int = 0
    studies_bytes: int = 0


class Metrics:
    """Every metric of the appliance. Safe to use from any thread.

    Parameters
    ----------
    registry : CollectorRegistry
        Fresh; one appliance in one registry.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.broker_connected = Gauge(
            "scanside_broker_connected", "Whether the broker is connected.", registry=registry
        )
        self.alerts_made = Counter(
            "scanside_alerts_made",
            "Alerts written to the outbox.",
            ["urgency", "status"],
            registry=registry,
        )
        self.alerts_sent = Counter(
            "scanside_alerts_sent",
            "Alerts handed to the broker: first, again, or on the second topic.",
            ["way"],
            registry=registry,
        )
        self.published_s = Histogram(
            "scanside_alert_published_seconds",
            "From an alert's making to the broker's acknowledgement.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.settled_s = Histogram(
            "scanside_alert_settled_seconds",
            "From an alert's making to the last receipt it needed.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.last_byte_to_alert_s = Histogram(
            "scanside_last_byte_to_alert_seconds",
            "From a study's last byte to its final alert in the outbox.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.inference_s = Histogram(
            "scanside_inference_seconds",
            "In the engine, for one study.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.receipts = Counter(
            "scanside_receipts",
            "Alerts named in receipts: settled, known already, or of no alert that was sent.",
            ["result"],
            registry=registry,
        )
        self.refusals = Counter(
            "scanside_refusals",
            "Messages from outside that were refused.",
            ["what", "reason"],
            registry=registry,
        )
        self.unacknowledged = Counter(
            "scanside_flags_unacknowledged",
            "Flags that nobody acknowledged on the console in time.",
            registry=registry,
        )
        self.erased = Counter(
            "scanside_studies_erased",
            "Studies erased: by order, or as they were kept long enough.",
            ["why"],
            registry=registry,
        )
        self.logins = Counter(
            "scanside_console_logins", "Log-ins, let in or refused.", ["result"], registry=registry
        )
        self.results = Counter(
            "scanside_results",
            "Objects offered to the PACS, by what came of it: stored, later, never.",
            ["kind", "result"],
            registry=registry,
        )
        self.drills = Counter(
            "scanside_drills", "Test alarms, by how they went.", ["result"], registry=registry
        )

    def watch(self, read: Callable[[], Standing]) -> None:
        """Have the rooms' own numbers read whenever somebody asks; once for each registry."""
        self.registry.register(_StandingCollector(read))


def exposition(metrics: Metrics) -> bytes:
    """Return all metrics in Prometheus' text format, to serve as `CONTENT_TYPE`."""
    return generate_latest(metrics.registry)


class _StandingCollector(Collector):
    """Asks for a `Standing` at each scrape."""

    def __init__(self, read: Callable[[], Standing]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        """Name nothing: asking for the names would ask the rooms, too."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of one scrape."""
        now = self._read()
        yield _labelled(
            CounterMetricFamily(
                "scanside_intake_instances", "Instances received.", labels=["result"]
            ),
            now.instances,
        )
        yield CounterMetricFamily(
            "scanside_intake_turned_away", "Associations refused.", value=now.turned_away
        )
        yield _labelled(
            CounterMetricFamily(
                "scanside_intake_tls_refused", "Senders refused for TLS.", labels=["reason"]
            ),
            now.tls_refused,
        )
        yield _labelled(
            GaugeMetricFamily(
                "scanside_commitments",
                "Storage commitment requests, by how their answers stand.",
                labels=["state"],
            ),
            now.commitments,
        )
        yield _labelled(
            GaugeMetricFamily(
                "scanside_engines",
                "Models of slices, by how their engines are.",
                labels=["state"],
            ),
            now.engines,
        )
        yield _labelled(
            GaugeMetricFamily("scanside_studies", "Studies in the journal.", labels=["state"]),
            now.studies,
        )
        yield _labelled(
            GaugeMetricFamily(
                "scanside_outbox_waiting",
                "Alerts that the broker has not acknowledged.",
                labels=["urgency"],
            ),
            now.waiting,
        )
        yield _labelled(
            GaugeMetricFamily("scanside_documents", "Objects for the PACS.", labels=["state"]),
            now.results,
        )
        gauges: dict[str, tuple[str, float]] = {
            "intake_senders": ("Senders connected.", now.senders),
            "outbox_unsettled": ("Alerts that lack a receipt.", now.unsettled),
            "outbox_oldest_unsettled_seconds": (
                "Age of the oldest alert that lacks a receipt.",
                now.oldest_unsettled_s,
            ),
            "outbox_escalated": ("Unsettled alerts on the second topic.", now.escalated),
            "documents_oldest_waiting_seconds": (
                "Age of the oldest object that the PACS does not have.",
                now.oldest_result_s,
            ),
            "audit_entries": ("Entries in the audit.", now.audit_entries),
            "disk_free_bytes": ("Free disk where studies are kept.", now.disk_free_bytes),
            "studies_bytes": ("Disk that studies take.", now.studies_bytes),
        }
        if now.revocation is not None:
            due, unusable = now.revocation
            gauges["dicom_crl_due_timestamp_seconds"] = (
                "When the revocation list of scanners' certificates is to be replaced.",
                due,
            )
            gauges["dicom_crl_unusable"] = (
                "1: the newest revocation list cannot be used, and the one before counts.",
                unusable,
            )
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"scanside_{name}", text, value=value)


def _labelled(
    family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[str, int]
) -> CounterMetricFamily | GaugeMetricFamily:
    for label, value in values.items():
        family.add_metric([label], value)
    return family
