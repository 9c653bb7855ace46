"""Metrics of producers for OpenTelemetry: ``pip install shardpack[otel]``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from .figures import FIGURES, SHARD_FIGURES, Figure, Kind, Watched, histograms

__all__ = ["observe"]

Callback = Callable[[CallbackOptions], Iterable[Observation]]


def observe(
    producers: Mapping[str, Watched], *, shards: bool = False, meter_provider: MeterProvider | None = None
) -> None:
    """Have producers observed by a meter provider, the global one if none is given, whenever it collects.

    ``producers`` are known by the names of their streams, the attribute ``stream``. What is put into the mapping or
    taken out of it later is observed, or no longer. With ``shards`` there are four figures of each shard too.
    ``docs/operate/metrics.md`` has the names. The API knows no histograms that are observed: of stages there are sum
    and count.
    """
    meter = get_meter("shardpack.producer", meter_provider=meter_provider)
    create = {
        Kind.COUNTER: meter.create_observable_counter,
        Kind.LEVEL: meter.create_observable_up_down_counter,
        Kind.GAUGE: meter.create_observable_gauge,
    }
    for figure in (*FIGURES, *(SHARD_FIGURES if shards else ())):
        create[figure.kind](
            f"shardpack.producer.{figure.name}",
            callbacks=[_callback(producers, figure)],
            unit=figure.unit,
            description=figure.description,
        )
    meter.create_observable_counter(
        "shardpack.producer.time_s",
        callbacks=[_times(producers, lambda histogram: histogram.sum)],
        unit="s",
        description="How long the stages of records have taken",
    )
    meter.create_observable_counter(
        "shardpack.producer.times",
        callbacks=[_times(producers, lambda histogram: histogram.count)],
        unit="1",
        description="How often that was measured",
    )


def _callback(producers: Mapping[str, Watched], figure: Figure) -> Callback:
    def observations(_options: CallbackOptions) -> Iterable[Observation]:
        for stream, producer in list(producers.items()):
            for value, number in figure.values(producer.stats(shards=figure in SHARD_FIGURES)):
                label = {} if figure.label is None else {figure.label: value}
                yield Observation(number, {"stream": stream, **label})

    return observations


def _times(producers: Mapping[str, Watched], number: Callable[..., float]) -> Callback:
    def observations(_options: CallbackOptions) -> Iterable[Observation]:
        for stream, producer in list(producers.items()):
            for stage, histogram in histograms(producer.stats(shards=False)).items():
                yield Observation(number(histogram), {"stream": stream, "stage": stage})

    return observations
