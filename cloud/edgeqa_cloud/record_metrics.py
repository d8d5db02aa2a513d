"""Counters of what records say: questions, latency, swaps, disks. Each record is counted once.

It stands in the way of every record that is stored, so series are looked up once for each model and
then kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client.metrics_core import Metric as Family

from edgeqa.choice_reason import Reason
from edgeqa.histogram import LOWEST, MAX_BUCKETS, Histogram
from edgeqa.telemetry_messages import (
    Evaluation,
    Latency,
    Model,
    RecordKind,
    SwapReport,
    Telemetry,
    Trigger,
)
from edgeqa_cloud import metric_specs as specs
from edgeqa_cloud.label_bounds import ModelLabels, ModelNames, known_code
from edgeqa_cloud.tally import Cell, Tally

_PARTS = ("queue", "tokenise", "inference", "decode", "publish", "total")
_BUCKET_PARTS = ("inference", "total")
_BY_MODEL = (specs.QUESTIONS, specs.CACHED, specs.CHOSEN, specs.LATENCY, specs.EVALUATED)
_NO_MODEL = ("none", "none")
_REASONS = frozenset(map(str, Reason))
_KINDS = tuple(map(str, RecordKind))
_SWAP_STATES = ("active", "failed", "rolled_back")
# Devices whose count of dropped records is remembered; a fleet larger than this is counted in
# part. Some 300 bytes each.
MAX_DEVICES = 200_000


class _ModelSeries:
    """The series of one model, all begun at 0."""

    def __init__(self, tally: Tally, labels: ModelLabels) -> None:
        self._tally = tally
        self._labels = labels
        self._outcomes = {"answered": tally.cell(specs.QUESTIONS, *labels, "answered")}
        self.cached = tally.cell(specs.CACHED, *labels)
        self.latency = {part: tally.spread(specs.LATENCY, *labels, part) for part in _BUCKET_PARTS}
        self.evaluated = {
            trigger: tally.cell(specs.EVALUATED, *labels, trigger.value) for trigger in Trigger
        }

    def outcome(self, outcome: str) -> Cell:
        """The series of an outcome; one that is no code of ours is `other`."""
        cell = self._outcomes.get(outcome)
        if cell is None:
            code = known_code(outcome)
            cell = self._tally.cell(specs.QUESTIONS, *self._labels, code)
            if code == outcome:
                self._outcomes[outcome] = cell
        return cell

    def chosen(self, reason: str) -> Cell:
        """The series of questions for which it was chosen of two, for a reason."""
        return self._tally.cell(specs.CHOSEN, *self._labels, reason)


# By the end of a device's bucket, looked up some hundred times for each record.
_OURS = {
    ends: min(max(0, -(-ends // specs.LATENCY_STEP)), len(specs.LATENCY_BUCKETS_S))
    for ends in range(LOWEST, LOWEST + MAX_BUCKETS + 1)
}


class RecordMetrics:
    """Sums over records.

    Args:
        models: models with series of their own.
        monotonic: seconds.
    """

    def __init__(self, *, models: int, monotonic: Callable[[], float]) -> None:
        # Guards all series here, so that they may be changed without the tally's lock.
        self._lock = threading.Lock()
        self._tally = tally = Tally(specs.RECORD_METRICS)
        self._names = ModelNames(most=models, monotonic=monotonic, forget=self._forget)
        self._models: dict[ModelLabels, _ModelSeries] = {}
        self._dropped_before: dict[str, tuple[int, ...]] = {}
        self._parts = [
            (part, tally.cell(specs.PARTS, part), tally.cell(specs.PART_QUESTIONS, part))
            for part in _PARTS
        ]
        self._swaps = {state: tally.cell(specs.SWAPS, state) for state in _SWAP_STATES}
        self._dropped = [tally.cell(specs.DROPPED, kind) for kind in _KINDS]
        self._reconnects = tally.cell(specs.RECONNECTS)
        tally.spread(specs.DISK)
        for state in _SWAP_STATES:
            tally.spread(specs.SWAP_SECONDS, state)

    def collect(self) -> Iterator[Family]:
        """For a scrape."""
        return self._tally.collect()

    def count(self, records: Iterable[Any]) -> None:
        """Add records up: evaluations, swap reports, and telemetry or what is like it."""
        with self._lock:
            for record in records:
                if isinstance(record, Evaluation):
                    self._of(record.model).evaluated[record.trigger].value += record.questions
                elif isinstance(record, SwapReport):
                    self._count_swap(record)
                else:
                    self._count_telemetry(record)

    def _count_telemetry(self, record: Telemetry) -> None:
        model = self._of(record.model)
        for outcome, count in record.outcomes.items():
            model.outcome(outcome).value += count
        model.cached.value += record.cached
        for chosen in record.choices or ():
            reason = chosen.reason if chosen.reason in _REASONS else "other"
            self._of(chosen.model).chosen(reason).value += chosen.questions
        if record.latency is not None:
            self._count_latency(model, record.latency)
        self._reconnects.value += record.reconnects
        if record.disk_total_bytes and record.disk_free_bytes is not None:
            self._tally.observe(
                specs.DISK, min(1.0, record.disk_free_bytes / record.disk_total_bytes)
            )
        if record.outbox is not None:
            dropped = record.outbox.dropped
            self._count_dropped(record.device, tuple(dropped.get(kind, 0) for kind in _KINDS))

    def _count_latency(self, model: _ModelSeries, latency: Latency) -> None:
        for part, seconds, questions in self._parts:
            histogram: Histogram | None = getattr(latency, part)
            if histogram is None or not histogram.count:
                continue
            seconds.value += histogram.sum / 1000
            questions.value += histogram.count
            spread = model.latency.get(part)
            if spread is not None:
                spread.merge(bucket_counts(histogram), histogram.sum / 1000)

    def _count_swap(self, record: SwapReport) -> None:
        self._swaps[record.state].value += 1
        if record.reason is not None:
            self._tally.add(specs.SWAP_FAILURES, known_code(record.reason.code))
        if record.duration_ms is not None:
            self._tally.observe(specs.SWAP_SECONDS, record.duration_ms / 1000, record.state)

    def _count_dropped(self, device: str, totals: tuple[int, ...]) -> None:
        """A device tells totals; what they were before it was first heard is not ours to count."""
        before = self._dropped_before.get(device)
        if before == totals or (before is None and len(self._dropped_before) >= MAX_DEVICES):
            return
        if before is not None:
            for cell, total, seen in zip(self._dropped, totals, before, strict=True):
                cell.value += max(0, total - seen)
            # Records that are sent again tell older totals.
            totals = tuple(map(max, totals, before))
        self._dropped_before[device] = totals

    def _of(self, model: Model | None) -> _ModelSeries:
        labels = _NO_MODEL if model is None else self._names.labels(model.name, model.version)
        series = self._models.get(labels)
        if series is None:
            series = self._models[labels] = _ModelSeries(self._tally, labels)
        return series

    def _forget(self, labels: ModelLabels) -> None:
        self._models.pop(labels, None)
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
            ours = _OURS[ends]
            counts[ours] = counts.get(ours, 0) + count
    return counts
