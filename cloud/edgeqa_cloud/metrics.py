"""What one collector counts for Prometheus: how it gets on, and what the stored records say.

Counters of the fleet (questions, latency, swaps) are raised here and not read from the database:
each record is counted by the collector that stored it, once, after its commit. So they add up over
collectors, cost the database nothing, and do not fall when old rows are deleted.

Thread: any.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from enum import StrEnum

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from edgeqa.telemetry_messages import Record, RecordKind
from edgeqa.topics import Kind
from edgeqa_cloud import metric_specs as specs
from edgeqa_cloud.label_bounds import OTHER, QUARANTINE_CODES, known_code
from edgeqa_cloud.record_metrics import RecordMetrics
from edgeqa_cloud.tally import Tally

_KINDS = (*map(str, RecordKind), str(Kind.HEARTBEAT), str(Kind.STATUS), "reported", OTHER)


class GapEvent(StrEnum):
    """What became of missing records."""

    FOUND = "found"
    FILLED = "filled"
    LOST = "lost"


class CollectorMetrics(Collector):
    """Counters and gauges of one collector.

    Args:
        models: models that have series of their own; others are counted as `other`.
        monotonic: seconds, for models that are no longer heard of.
    """

    def __init__(
        self, *, models: int = 20, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._tally = Tally(specs.COLLECTOR_METRICS)
        self._records = RecordMetrics(models=models, monotonic=monotonic)
        self._waiting: Callable[[], int] = lambda: 0
        self._oldest_s: Callable[[], float] = lambda: 0.0
        self._begin_all_series()

    def registry(self) -> CollectorRegistry:
        """A registry of its own, with memory and processor time of this process."""
        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        return registry

    def collect(self) -> Iterator[Family]:
        """What `prometheus_client` asks for at a scrape."""
        self._tally.set(specs.QUEUE, self._waiting())
        self._tally.set(specs.LAG, self._oldest_s())
        yield from self._tally.collect()
        yield from self._records.collect()

    def watch_queue(
        self, *, limit: int, waiting: Callable[[], int], oldest_s: Callable[[], float]
    ) -> None:
        """Read the intake's queue at each scrape.

        Args:
            limit: the most that may wait.
            waiting: messages that are not committed.
            oldest_s: how long the oldest of them has waited; 0 if there is none.
        """
        self._waiting, self._oldest_s = waiting, oldest_s
        self._tally.set(specs.QUEUE_LIMIT, limit)

    def received(self, kind: str, count: int = 1) -> None:
        """Messages came; `kind` is a `RecordKind`, `heartbeat`, `status` or `reported`."""
        self._tally.add(specs.RECEIVED, _kind(kind), by=count)

    def stored(self, kind: str, count: int = 1) -> None:
        """Their content was committed for the first time."""
        self._tally.add(specs.STORED, _kind(kind), by=count)

    def duplicate(self, kind: str, count: int = 1) -> None:
        """The database had them already."""
        self._tally.add(specs.DUPLICATES, _kind(kind), by=count)

    def quarantined(self, code: str, count: int = 1) -> None:
        """They went to quarantine."""
        self._tally.add(specs.QUARANTINED, known_code(code), by=count)

    def acknowledged(self, count: int = 1) -> None:
        """The broker was told."""
        self._tally.add(specs.ACKNOWLEDGED, by=count)

    def committed(self, *, messages: int, seconds: float) -> None:
        """A transaction succeeded."""
        self._tally.observe(specs.BATCH, messages)
        self._tally.observe(specs.COMMIT, seconds)
        self._tally.set(specs.DATABASE_UP, 1)

    def commit_failed(self) -> None:
        """A transaction failed; its messages wait."""
        self._tally.add(specs.COMMIT_FAILURES)
        self._tally.set(specs.DATABASE_UP, 0)

    def broker(self, *, connected: bool) -> None:
        """The connection came or went."""
        self._tally.set(specs.BROKER_UP, int(connected))

    def gap(self, event: GapEvent, records: int) -> None:
        """Records were found missing, or are no longer."""
        self._tally.add(specs.GAPS, str(event), by=records)

    def asked_again(self, count: int = 1) -> None:
        """A device was asked to send records again."""
        self._tally.add(specs.RESENDS, by=count)

    def count(self, *records: Record) -> None:
        """Add up what records say. Call it once for each that was newly stored."""
        self._records.count(records)

    def _begin_all_series(self) -> None:
        """At 0, so that the first increase of each is seen as one."""
        for metric in (specs.RECEIVED, specs.STORED, specs.DUPLICATES):
            for kind in _KINDS:
                self._tally.add(metric, kind, by=0)
        for event in GapEvent:
            self._tally.add(specs.GAPS, str(event), by=0)
        for metric in (specs.ACKNOWLEDGED, specs.COMMIT_FAILURES, specs.RESENDS):
            self._tally.add(metric, by=0)
        for code in (*QUARANTINE_CODES, OTHER):
            self._tally.add(specs.QUARANTINED, code, by=0)
        for metric in (specs.BATCH, specs.COMMIT):
            self._tally.merge(metric, {}, 0.0)
        for gauge in (specs.BROKER_UP, specs.QUEUE_LIMIT):
            self._tally.set(gauge, 0)
        # A collector that runs has reached its database at its start.
        self._tally.set(specs.DATABASE_UP, 1)


def _kind(kind: str) -> str:
    return kind if kind in _KINDS else OTHER
