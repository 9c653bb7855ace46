"""Metrics of producers for Prometheus: ``pip install shardpack[prometheus]``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ..stats import Stats
from .figures import FIGURES, SHARD_FIGURES, Figure, Kind, Watched, histograms

__all__ = ["ProducerCollector"]


class ProducerCollector(Collector):
    """Read the figures of producers whenever Prometheus asks: ``REGISTRY.register(ProducerCollector({...}))``.

    ``producers`` are known by the names of their streams, the label ``stream``. What is put into the mapping or taken
    out of it later is collected, or no longer. With ``shards`` there are four figures of each shard too.
    ``docs/operate/metrics.md`` has the names.
    """

    def __init__(self, producers: Mapping[str, Watched], *, shards: bool = False) -> None:
        self._producers = producers
        self._shards = shards

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics as they are now, each producer's from one snapshot."""
        stats = {stream: producer.stats(shards=self._shards) for stream, producer in list(self._producers.items())}
        for figure in (*FIGURES, *(SHARD_FIGURES if self._shards else ())):
            yield _metric(figure, stats)
        yield _histogram(stats)

    def describe(self) -> Iterable[Metric]:
        """Yield the metrics without values, which is how a registry learns their names."""
        for figure in (*FIGURES, *(SHARD_FIGURES if self._shards else ())):
            yield _metric(figure, {})
        yield _histogram({})


def _metric(figure: Figure, stats: Mapping[str, Stats]) -> Metric:
    labels = ["stream"] if figure.label is None else ["stream", figure.label]
    family = CounterMetricFamily if figure.kind is Kind.COUNTER else GaugeMetricFamily
    metric = family(_name(figure), figure.description, labels=labels)
    for stream, each in stats.items():
        for value, number in figure.values(each):
            metric.add_metric([stream, value][: len(labels)], number)
    return metric


def _name(figure: Figure) -> str:
    """The figure's name, with its unit as Prometheus would have it."""
    name = figure.name.removesuffix("_s")
    suffixes = {"s": "_seconds", "By/s": "_per_second", "{record}/s": "_per_second", "1": "_ratio"}
    return f"shardpack_producer_{name}{suffixes.get(figure.unit, '')}"


def _histogram(stats: Mapping[str, Stats]) -> Metric:
    metric = HistogramMetricFamily(
        "shardpack_producer_time_seconds", "How long the stages of records take", labels=["stream", "stage"]
    )
    for stream, each in stats.items():
        for stage, histogram in histograms(each).items():
            bounds = [str(bound) for bound in histogram.bounds]
            buckets = list(zip([*bounds, "+Inf"], accumulate(histogram.counts), strict=True))
            metric.add_metric([stream, stage], buckets, histogram.sum)
    return metric
