"""Metrics: readable by Prometheus, right after a restart, and without a patient."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from edge.metrics import Metrics, Standing, exposition


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(exposition(metrics).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.values()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_what_happened_is_counted() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.alerts_made.labels("critical", "final").inc()
    metrics.refusals.labels("receipt", "bad signature").inc(2)
    metrics.published_s.observe(0.02)
    metrics.broker_connected.set(True)
    read = samples(metrics)
    assert read["scanside_alerts_made_total", ("critical", "final")] == 1
    assert read["scanside_refusals_total", ("bad signature", "receipt")] == 2
    assert read["scanside_alert_published_seconds_count", ()] == 1
    assert read["scanside_alert_published_seconds_bucket", ("0.025",)] == 1
    assert read["scanside_broker_connected", ()] == 1


def test_what_the_rooms_know_is_read_at_each_scrape() -> None:
    metrics = Metrics(CollectorRegistry())
    now = [Standing(studies={"decided": 1}, waiting={"critical": 2}, instances={"stored": 40})]
    metrics.watch(lambda: now[0])
    assert samples(metrics)["scanside_studies", ("decided",)] == 1
    now[0] = Standing(studies={"decided": 5}, unsettled=3, oldest_unsettled_s=61.5, escalated=1)
    read = samples(metrics)
    assert read["scanside_studies", ("decided",)] == 5
    assert read["scanside_outbox_unsettled", ()] == 3
    assert read["scanside_outbox_oldest_unsettled_seconds", ()] == 61.5
    assert read["scanside_outbox_escalated", ()] == 1


def test_a_revocation_list_is_measured_where_there_is_one() -> None:
    metrics = Metrics(CollectorRegistry())
    now = [Standing()]
    metrics.watch(lambda: now[0])
    assert not [name for name, _ in samples(metrics) if "crl" in name]
    now[0] = Standing(revocation=(1_800_000_000.0, 1.0))
    read = samples(metrics)
    assert read["scanside_dicom_crl_due_timestamp_seconds", ()] == 1_800_000_000.0
    assert read["scanside_dicom_crl_unusable", ()] == 1


def test_two_appliances_in_one_process_do_not_share_numbers() -> None:
    one, two = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    one.alerts_made.labels("urgent", "final").inc()
    assert ("scanside_alerts_made_total", ("final", "urgent")) not in samples(two)


def test_every_metric_is_named_and_explained() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.watch(Standing)
    families = list(text_string_to_metric_families(exposition(metrics).decode()))
    assert len(families) > 15
    assert all(one.name.startswith("scanside_") and one.documentation for one in families)
