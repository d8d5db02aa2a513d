"""Counts and figures that a Prometheus scrape reads: a few dictionaries and one lock.

Unlike `prometheus_client`'s own counters it takes whole histograms and whole batches at once, and
exposes no `_created` series. What it holds belongs to whoever made it; nothing is global.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from edgeqa_cloud.metric_specs import Metric, MetricKind

Labels = tuple[str, ...]


@dataclass(slots=True)
class _Spread:
    counts: list[float]  # one more than there are bounds
    total: float = 0.0


class Tally(Collector):
    """The values of some metrics.

    Args:
        metrics: the only ones that it takes, in the order in which they are exposed.
    """

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._lock = threading.Lock()
        self._values: dict[Metric, dict[Labels, float]] = {}
        self._spreads: dict[Metric, dict[Labels, _Spread]] = {}
        for metric in metrics:
            if metric.kind is MetricKind.HISTOGRAM:
                self._spreads[metric] = {}
            else:
                self._values[metric] = {}
        self._order = tuple(metrics)

    def add(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Raise a counter; with `by=0` its series begins."""
        with self._lock:
            series = self._values[metric]
            series[labels] = series.get(labels, 0.0) + by

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._values[metric][labels] = value

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Count a value into a histogram."""
        with self._lock:
            spread = self._spread(metric, labels)
            spread.counts[bisect_left(metric.buckets, value)] += 1
            spread.total += value

    def merge(
        self, metric: Metric, counts: Mapping[int, float], total: float, *labels: str
    ) -> None:
        """Add the counts of a histogram's buckets; the one behind the last bound is the rest."""
        with self._lock:
            spread = self._spread(metric, labels)
            for index, count in counts.items():
                spread.counts[index] += count
            spread.total += total

    def drop(self, prefix: Labels, metrics: Iterable[Metric]) -> None:
        """Forget the series of these metrics whose labels begin so."""
        with self._lock:
            for metric in metrics:
                series: dict[Labels, float] | dict[Labels, _Spread] = (
                    self._spreads[metric] if metric in self._spreads else self._values[metric]
                )
                for labels in [one for one in series if one[: len(prefix)] == prefix]:
                    del series[labels]

    def collect(self) -> Iterator[Family]:
        """What `prometheus_client` asks for at a scrape."""
        with self._lock:
            families = [self._family(metric) for metric in self._order]
        yield from families

    def _spread(self, metric: Metric, labels: Labels) -> _Spread:
        series = self._spreads[metric]
        spread = series.get(labels)
        if spread is None:
            spread = series[labels] = _Spread([0.0] * (len(metric.buckets) + 1))
        return spread

    def _family(self, metric: Metric) -> Family:
        if metric.kind is MetricKind.HISTOGRAM:
            spreads = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, spread in sorted(self._spreads[metric].items()):
                spreads.add_metric(labels, _cumulative(metric, spread), spread.total)
            return spreads
        kind = CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily
        family = kind(metric.name, metric.help, labels=metric.labels)
        for labels, value in sorted(self._values[metric].items()):
            family.add_metric(labels, value)
        return family


def _cumulative(metric: Metric, spread: _Spread) -> list[tuple[str, float]]:
    seen = 0.0
    buckets = []
    for bound, count in zip((*metric.buckets, float("inf")), spread.counts, strict=True):
        seen += count
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), seen))
    return buckets
