"""Counters of what records say: questions, latency, swaps, disks. Each record is counted once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import Metric as Family

from edgeqa.histogram import Histogram
from edgeqa.telemetry_messages import (
    Evaluation,
    Model,
    Record,
    RecordKind,
    SwapReport,
    Telemetry,
    Trigger,
)
from edgeqa_cloud import metric_specs as specs
from edgeqa_cloud.label_bounds import ModelLabels, ModelNames, known_code
from edgeqa_cloud.tally import Tally

_PARTS = ("queue", "tokenise", "inference", "decode", "publish", "total")
_BUCKET_PARTS = ("inference", "total")
_BY_MODEL = (specs.QUESTIONS, specs.LATENCY, specs.EVALUATED)
_NO_MODEL = ("none", "none")
_KINDS = tuple(map(str, RecordKind))
_SWAP_STATES = ("active", "failed", "rolled_back")
# Devices whose count of dropped records is remembered; a fleet larger than this is counted in
# part. Some 100 bytes each.
MAX_DEVICES = 200_000


class RecordMetrics:
    """Sums over records.

    Args:
        models: models with series of their own.
        monotonic: seconds.
    """

    def __init__(self, *, models: int, monotonic: Callable[[], float]) -> None:
        self._lock = threading.Lock()
        self._tally = Tally(specs.RECORD_METRICS)
        self._names = ModelNames(most=models, monotonic=monotonic, forget=self._forget)
        self._begun: set[ModelLabels] = set()
        self._dropped: dict[tuple[str, str], int] = {}
        for part in _PARTS:
            self._tally.add(specs.PARTS, part, by=0)
            self._tally.add(specs.PART_QUESTIONS, part, by=0)
        for state in _SWAP_STATES:
            self._tally.add(specs.SWAPS, state, by=0)
            self._tally.merge(specs.SWAP_SECONDS, {}, 0.0, state)
        for kind in _KINDS:
            self._tally.add(specs.DROPPED, kind, by=0)
        self._tally.add(specs.RECONNECTS, by=0)
        self._tally.merge(specs.DISK, {}, 0.0)

    def collect(self) -> Iterator[Family]:
        """For a scrape."""
        return self._tally.collect()

    def count(self, record: Record) -> None:
        """Add a record up."""
        with self._lock:
            if isinstance(record, Telemetry):
                self._count_telemetry(record)
            elif isinstance(record, Evaluation):
                labels = self._labels(record.model)
                self._begin(labels)
                self._tally.add(specs.EVALUATED, *labels, str(record.trigger), by=record.questions)
            elif isinstance(record, SwapReport):
                self._count_swap(record)

    def _count_telemetry(self, record: Telemetry) -> None:
        labels = self._labels(record.model)
        self._begin(labels)
        for outcome, count in record.outcomes.items():
            name = outcome if outcome == "answered" else known_code(outcome)
            self._tally.add(specs.QUESTIONS, *labels, name, by=count)
        if record.latency is not None:
            for part in _PARTS:
                histogram = getattr(record.latency, part)
                if histogram is not None:
                    self._count_latency(labels, part, histogram)
        if record.reconnects:
            self._tally.add(specs.RECONNECTS, by=record.reconnects)
        if record.disk_total_bytes and record.disk_free_bytes is not None:
            self._tally.observe(
                specs.DISK, min(1.0, record.disk_free_bytes / record.disk_total_bytes)
            )
        if record.outbox is not None:
            for kind in _KINDS:
                self._count_dropped(record.device, kind, record.outbox.dropped.get(kind, 0))

    def _count_latency(self, labels: ModelLabels, part: str, histogram: Histogram) -> None:
        seconds = histogram.sum / 1000
        self._tally.add(specs.PARTS, part, by=seconds)
        self._tally.add(specs.PART_QUESTIONS, part, by=histogram.count)
        if part in _BUCKET_PARTS:
            self._tally.merge(specs.LATENCY, bucket_counts(histogram), seconds, *labels, part)

    def _count_swap(self, record: SwapReport) -> None:
        self._tally.add(specs.SWAPS, record.state)
        if record.reason is not None:
            self._tally.add(specs.SWAP_FAILURES, known_code(record.reason.code))
        if record.duration_ms is not None:
            self._tally.observe(specs.SWAP_SECONDS, record.duration_ms / 1000, record.state)

    def _count_dropped(self, device: str, kind: str, dropped: int) -> None:
        """A device tells a total; what it was before we first heard of it is not ours to count."""
        before = self._dropped.get((device, kind))
        if before is None and len(self._dropped) >= MAX_DEVICES:
            return
        if before is not None and dropped > before:
            self._tally.add(specs.DROPPED, kind, by=dropped - before)
        self._dropped[device, kind] = max(dropped, before or 0)

    def _labels(self, model: Model | None) -> ModelLabels:
        return _NO_MODEL if model is None else self._names.labels(model.name, model.version)

    def _begin(self, labels: ModelLabels) -> None:
        """All series of a model at 0."""
        if labels in self._begun:
            return
        self._begun.add(labels)
        self._tally.add(specs.QUESTIONS, *labels, "answered", by=0)
        for part in _BUCKET_PARTS:
            self._tally.merge(specs.LATENCY, {}, 0.0, *labels, part)
        for trigger in Trigger:
            self._tally.add(specs.EVALUATED, *labels, str(trigger), by=0)

    def _forget(self, labels: ModelLabels) -> None:
        self._begun.discard(labels)
        self._tally.drop(labels, _BY_MODEL)


def bucket_counts(histogram: Histogram) -> dict[int, int]:
    """Of a device's histogram, the counts in the buckets of `LATENCY_BUCKETS_S`, exactly.

    The device's bucket `i` ends at 2**((i+1)/8) ms, ours with number `n` at 2**(n/2) ms: every
    fourth bound of the device is one of ours.

    Returns:
        Number of a bucket to its count; the number behind the last is of what lies above all.
    """
    counts: dict[int, int] = {}
    for ends, count in enumerate(histogram.counts, histogram.offset + 1):
        if count:
            ours = min(max(0, -(-ends // specs.LATENCY_STEP)), len(specs.LATENCY_BUCKETS_S))
            counts[ours] = counts.get(ours, 0) + count
    return counts
