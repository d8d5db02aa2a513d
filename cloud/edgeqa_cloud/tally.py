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
class Cell:
    """One series of a counter or a gauge. Only one thread at a time may change it."""

    value: float = 0.0


@dataclass(slots=True)
class Spread:
    """One series of a histogram. Only one thread at a time may change it."""

    counts: list[float]  # one more than there are bounds
    total: float = 0.0

    def merge(self, counts: Mapping[int, float], total: float) -> None:
        """Add counts of buckets; the one behind the last bound is the rest."""
        for index, count in counts.items():
            self.counts[index] += count
        self.total += total


class Tally(Collector):
    """The values of some metrics.

    Args:
        metrics: the only ones that it takes, in the order in which they are exposed.
    """

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._lock = threading.Lock()
        self._cells: dict[Metric, dict[Labels, Cell]] = {}
        self._spreads: dict[Metric, dict[Labels, Spread]] = {}
        for metric in metrics:
            if metric.kind is MetricKind.HISTOGRAM:
                self._spreads[metric] = {}
            else:
                self._cells[metric] = {}
        self._order = tuple(metrics)

    def cell(self, metric: Metric, *labels: str) -> Cell:
        """A series to change without a look-up; it begins at 0."""
        with self._lock:
            return self._cell(metric, labels)

    def spread(self, metric: Metric, *labels: str) -> Spread:
        """The same of a histogram."""
        with self._lock:
            return self._spread(metric, labels)

    def add(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Raise a counter; with `by=0` its series begins."""
        with self._lock:
            self._cell(metric, labels).value += by

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._cell(metric, labels).value = value

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
            self._spread(metric, labels).merge(counts, total)

    def drop(self, prefix: Labels, metrics: Iterable[Metric]) -> None:
        """Forget the series of these metrics whose labels begin so."""
        with self._lock:
            for metric in metrics:
                series: dict[Labels, Cell] | dict[Labels, Spread] = (
                    self._spreads[metric] if metric in self._spreads else self._cells[metric]
                )
                for labels in [one for one in series if one[: len(prefix)] == prefix]:
                    del series[labels]

    def collect(self) -> Iterator[Family]:
        """What `prometheus_client` asks for at a scrape."""
        with self._lock:
            families = [self._family(metric) for metric in self._order]
        yield from families

    def _cell(self, metric: Metric, labels: Labels) -> Cell:
        series = self._cells[metric]
        cell = series.get(labels)
        if cell is None:
            cell = series[labels] = Cell()
        return cell

    def _spread(self, metric: Metric, labels: Labels) -> Spread:
        series = self._spreads[metric]
        spread = series.get(labels)
        if spread is None:
            spread = series[labels] = Spread([0.0] * (len(metric.buckets) + 1))
        return spread

    def _family(self, metric: Metric) -> Family:
        if metric.kind is MetricKind.HISTOGRAM:
            spreads = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, spread in sorted(self._spreads[metric].items(), key=_labels):
                spreads.add_metric(labels, _cumulative(metric, spread), spread.total)
            return spreads
        kind = CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily
        family = kind(metric.name, metric.help, labels=metric.labels)
        for labels, cell in sorted(self._cells[metric].items(), key=_labels):
            family.add_metric(labels, cell.value)
        return family


def _labels(series: tuple[Labels, object]) -> Labels:
    return series[0]


def _cumulative(metric: Metric, spread: Spread) -> list[tuple[str, float]]:
    seen = 0.0
    buckets = []
    for bound, count in zip((*metric.buckets, float("inf")), spread.counts, strict=True):
        seen += count
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), seen))
    return buckets
