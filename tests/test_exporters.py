"""What Prometheus' and OpenTelemetry's own libraries make of a producer's figures."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from test_producer import Shards, put_all
from watched import busy

from shardpack.producer.exporters.figures import FIGURES
from shardpack.producer.exporters.otel import observe
from shardpack.producer.exporters.prometheus import ProducerCollector
from shardpack.producer.producer import Producer
from shardpack.producer.stats import ShardStats, Stats

THROTTLED = "ProvisionedThroughputExceededException"


def test_every_figure_is_exported():
    times = {"stage_s", "linger_s", "queue_s", "request_s"}
    assert {figure.name for figure in FIGURES} == {field.name for field in fields(Stats)} - times - {"shards"}


def test_the_page_names_every_figure():
    """In a table, as each system has it."""
    page = (Path(__file__).parent.parent / "docs" / "operate" / "metrics.md").read_text()
    rows = [[cell.strip(" `") for cell in line.split("|")] for line in page.splitlines() if line.startswith("| `")]
    named = {cell.partition("{")[0] for row in rows for cell in row}
    samples, _ = scraped({"orders": busy()}, shards=True)
    points, _ = collected({"orders": busy()}, shards=True)
    assert {field.name for field in fields(Stats)} - {"shards"} <= named
    assert {field.name for field in fields(ShardStats)} - {"shard_id"} <= named
    of_prometheus = {name.removeprefix("shardpack_producer_") for name, *_ in samples}
    assert {name for name in of_prometheus if not name.startswith("time_seconds")} <= named
    assert {name.removeprefix("shardpack.producer.") for name, *_ in points} - {"time_s", "times"} <= named


# --- Prometheus ---


def scraped(producers, **options):
    """What a scrape gives, as Prometheus' parser reads it: name and labels, and values; and each metric's type."""
    registry = CollectorRegistry()
    registry.register(ProducerCollector(producers, **options))
    samples, kinds = {}, {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        kinds[family.name] = family.type
        for sample in family.samples:
            samples[(sample.name, *sorted(sample.labels.items()))] = sample.value
    return samples, kinds


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("user_records_put_total", 1000),
        ("user_records_stored_total", 900),
        ("user_records_failed", 30),
        ("user_records_unknown", 20),
        ("user_records_expired", 25),
        ("user_records_pending", 50),
        ("kinesis_records_sent_total", 60),
        ("kinesis_records_stored_total", 45),
        ("bytes_stored_total", 90_000),
        ("user_bytes_stored_total", 81_000),
        ("requests_total", 12),
        ("requests_in_flight", 2),
        ("retries_total", 15),
        ("buffered_bytes", 8200),
        ("max_buffered_bytes", 64 * 1024 * 1024),
        ("oldest_record_age_seconds", 1.5),
        ("limited_seconds_total", 7.25),
    ],
)
def test_prometheus_scrapes_a_figure(name, expected):
    samples, kinds = scraped({"orders": busy()})
    assert samples[f"shardpack_producer_{name}", ("stream", "orders")] == expected
    kind = kinds[f"shardpack_producer_{name}"] if not name.endswith("_total") else "counter"
    assert kind == ("counter" if name.endswith("_total") else "gauge")


def test_prometheus_tells_errors_apart():
    samples, _ = scraped({"orders": busy()})
    name, stream = "shardpack_producer_errors_total", ("stream", "orders")
    assert samples[name, ("error_code", THROTTLED), stream] == 11
    assert samples[name, ("error_code", "InternalFailure"), stream] == 4


def test_prometheus_gets_histograms():
    samples, kinds = scraped({"orders": busy()})
    name = "shardpack_producer_time_seconds"
    assert kinds[name] == "histogram"
    labels = (("stage", "request"), ("stream", "orders"))
    assert samples[(f"{name}_count", *labels)] == 2
    assert samples[(f"{name}_sum", *labels)] == 90.0078125
    assert samples[(f"{name}_bucket", ("le", "0.005"), *labels)] == 0
    assert samples[(f"{name}_bucket", ("le", "0.01"), *labels)] == 1
    assert samples[(f"{name}_bucket", ("le", "60.0"), *labels)] == 1
    assert samples[(f"{name}_bucket", ("le", "+Inf"), *labels)] == 2


def test_prometheus_gets_shards_where_they_are_wanted():
    shard = (("shard_id", "shardId-000000000000"), ("stream", "orders"))
    samples, _ = scraped({"orders": busy()}, shards=True)
    assert samples[("shardpack_producer_shard_bytes_per_second", *shard)] == 524288
    assert samples[("shardpack_producer_shard_records_per_second", *shard)] == 100
    assert samples[("shardpack_producer_shard_utilisation_ratio", *shard)] == 0.5
    assert samples[("shardpack_producer_shard_throttles_total", *shard)] == 11
    samples, _ = scraped({"orders": busy()})
    assert not any("shard_id" in dict(labels) for _, *labels in samples)


def test_producers_come_and_go():
    producers = {"orders": busy(), "clicks": busy()}
    registry = CollectorRegistry()
    registry.register(ProducerCollector(producers))
    name = "shardpack_producer_requests_total"
    assert [registry.get_sample_value(name, {"stream": stream}) for stream in producers] == [12, 12]
    del producers["clicks"]
    assert registry.get_sample_value(name, {"stream": "clicks"}) is None


# --- OpenTelemetry ---


def collected(producers, **options):
    """What a reader of the SDK collects: name and attributes, and data points; and each metric."""
    reader = InMemoryMetricReader()
    observe(producers, meter_provider=MeterProvider([reader]), **options)
    points, metrics = {}, {}
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            assert scope.scope.name == "shardpack.producer"
            for metric in scope.metrics:
                metrics[metric.name] = metric
                for point in metric.data.data_points:
                    points[(metric.name, *sorted(point.attributes.items()))] = point.value
    return points, metrics


@pytest.mark.parametrize("figure", [figure for figure in FIGURES if figure.label is None], ids=lambda each: each.name)
def test_opentelemetry_collects_a_figure(figure):
    producer = busy()
    points, metrics = collected({"orders": producer})
    name = f"shardpack.producer.{figure.name}"
    assert points[name, ("stream", "orders")] == getattr(producer.now, figure.name)
    assert metrics[name].unit == figure.unit
    data = metrics[name].data
    assert (hasattr(data, "is_monotonic") and data.is_monotonic) == (figure.kind.value == "counter")


def test_opentelemetry_tells_errors_and_stages_apart():
    points, _ = collected({"orders": busy()})
    stream = ("stream", "orders")
    assert points["shardpack.producer.errors", ("error_code", THROTTLED), stream] == 11
    assert points["shardpack.producer.time_s", ("stage", "linger"), stream] == 0.5
    assert points["shardpack.producer.times", ("stage", "linger"), stream] == 2
    assert points["shardpack.producer.time_s", ("stage", "request"), stream] == 90.0078125


def test_opentelemetry_gets_shards_where_they_are_wanted():
    shard = (("shard_id", "shardId-000000000000"), ("stream", "orders"))
    points, _ = collected({"orders": busy()}, shards=True)
    assert points[("shardpack.producer.shard_bytes", *shard)] == 524288
    assert points[("shardpack.producer.shard_utilisation", *shard)] == 0.5
    points, _ = collected({"orders": busy()})
    assert not any("shard_id" in dict(labels) for _, *labels in points)


# --- and a producer ---


def test_a_producer_is_observed_from_its_first_record_to_its_end():
    with Producer(transport=Shards(), linger_ms=1) as producer:
        assert scraped({"s": producer})[0]["shardpack_producer_user_records_put_total", ("stream", "s")] == 0
        put_all(producer, 500)
        producer.flush()
    samples, _ = scraped({"s": producer}, shards=True)
    assert samples["shardpack_producer_user_records_stored_total", ("stream", "s")] == 500
    points, _ = collected({"s": producer}, shards=True)
    assert points["shardpack.producer.user_records_stored", ("stream", "s")] == 500
