"""The state of the fleet for Prometheus, read from the database when it is scraped.

What is read is kept for `cache_s`, and one scrape reads while others wait for what it read: the
cost for the database does not grow with the number of scrapers. Counters are not here but in
`metrics`: a sum over a table falls when old rows are deleted, and a counter must not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from sqlalchemy import Connection, case, func, select
from sqlalchemy.exc import SQLAlchemyError

from edgeqa_cloud import metric_specs as specs
from edgeqa_cloud.database import Database, reason
from edgeqa_cloud.enrolment.enrolment_metrics import fill_enrolment
from edgeqa_cloud.fleet_views import THROTTLE_FLAGS, ModelSummary
from edgeqa_cloud.label_bounds import OTHER, ModelLabels, known_code
from edgeqa_cloud.metric_specs import Metric
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.presence_column import presence_column
from edgeqa_cloud.rollout.rollout_metrics import fill_rollouts
from edgeqa_cloud.serving_history import DAY_MS
from edgeqa_cloud.summary import gap_records, model_summaries, quarantined
from edgeqa_cloud.tables import devices, evaluations
from edgeqa_cloud.tally import Tally

_NONE: ModelLabels = ("none", "none")


class FleetMetrics(Collector):
    """Gauges of the fleet.

    Args:
        database: to read.
        models: models with series of their own, those with most devices.
        each_device: devices with series of their own, the first by name.
        cache_s: how long a reading serves.
        clock: seconds since 1970.
        monotonic: seconds.
    """

    def __init__(
        self,
        *,
        database: Database,
        models: int = 20,
        each_device: int = 0,
        cache_s: float = 15.0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._models = models
        self._each_device = each_device
        self._cache_s = cache_s
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._families: list[Family] = []
        self._log = structlog.get_logger()

    def registry(self) -> CollectorRegistry:
        """A registry of its own."""
        registry = CollectorRegistry()
        registry.register(self)
        return registry

    def collect(self) -> Iterator[Family]:
        """What `prometheus_client` asks for at a scrape."""
        with self._lock:
            now = self._monotonic()
            if self._read_at is None or now - self._read_at >= self._cache_s:
                self._families = list(self._read().collect())
                self._read_at = now
            families = self._families
        yield from families

    def _read(self) -> Tally:
        began = self._monotonic()
        tally = Tally(specs.FLEET_METRICS)
        try:
            with self._database.reading() as connection:
                self._fill(tally, connection)
        except SQLAlchemyError as error:
            # No old figures in its place: they would look like a fleet that does well.
            self._log.warning("fleet_metrics_unread", reason=reason(error))
            tally = Tally(specs.FLEET_METRICS)
            tally.set(specs.FLEET_UP, 0)
            return tally
        tally.set(specs.FLEET_UP, 1)
        tally.set(specs.FLEET_READ, self._monotonic() - began)
        tally.set(specs.FLEET_READ_AT, self._clock())
        return tally

    def _fill(self, tally: Tally, connection: Connection) -> None:
        now_ms = round(self._clock() * 1000)
        _fill_presence(tally, connection, now_ms)
        summaries = model_summaries(connection, now_ms=now_ms)
        names = _Names(summaries, most=self._models)
        _fill_models(tally, summaries, names)
        _fill_pairs(tally, connection, now_ms, names)
        _fill_heat(tally, connection, now_ms)
        for state, count in gap_records(connection).items():
            tally.set(specs.GAP_RECORDS, count, state)
        tally.add(specs.QUARANTINE, OTHER, by=0)
        for code, count in quarantined(connection).items():
            tally.add(specs.QUARANTINE, known_code(code), by=count)
        fill_rollouts(tally, connection, now_ms=now_ms)
        fill_enrolment(tally, connection, now_ms=now_ms)
        if self._each_device:
            _fill_devices(tally, connection, self._each_device)


def _fill_presence(tally: Tally, connection: Connection, now_ms: int) -> None:
    judged = presence_column(now_ms)
    for presence in Presence:
        tally.set(specs.DEVICES, 0, presence)
    for judgement, count in connection.execute(
        select(judged, func.count()).select_from(devices).group_by(judged)
    ):
        tally.set(specs.DEVICES, count, judgement)


class _Names:
    """Labels of models, for one reading: those with most devices have their own.

    Packages of the same name and version are one model here, whatever their digests.
    """

    def __init__(self, summaries: Iterable[ModelSummary], *, most: int) -> None:
        self._most = most
        self._named: set[ModelLabels] = set()
        for summary in summaries:
            if summary.model is not None:
                self.labels(summary.model.name, summary.model.version)

    def labels(self, name: str, version: str) -> ModelLabels:
        """Of one that is seen now."""
        if (name, version) not in self._named:
            if len(self._named) >= self._most:
                return OTHER, OTHER
            self._named.add((name, version))
        return name, version


def _fill_models(tally: Tally, summaries: Iterable[ModelSummary], names: _Names) -> None:
    sums: dict[ModelLabels, list[float]] = {}
    for one in summaries:
        labels = _NONE
        if one.model is not None:
            labels = names.labels(one.model.name, one.model.version)
        tally.add(specs.MODEL_DEVICES, *labels, by=one.devices)
        if one.exact_match is not None and one.f1 is not None:
            total = sums.setdefault(labels, [0.0, 0.0, 0.0])
            total[0] += one.exact_match * one.evaluation_questions
            total[1] += one.f1 * one.evaluation_questions
            total[2] += one.evaluation_questions
    for labels, (em, f1, questions) in sums.items():
        tally.set(specs.EXACT_MATCH, round(em / questions / 100, 6), *labels)
        tally.set(specs.F1, round(f1 / questions / 100, 6), *labels)


def _fill_pairs(tally: Tally, connection: Connection, now_ms: int, names: _Names) -> None:
    """Paired differences of the last day, added up in the database."""
    c = evaluations.c
    questions = c.paired["questions"].as_integer()
    em = c.paired["exact_match_difference"].as_float()
    f1 = c.paired["f1_difference"].as_float()
    f1_high = c.paired[("f1_interval", 1)].as_float()
    rows = connection.execute(
        select(
            c.model_name,
            c.model_version,
            func.sum(questions),
            func.sum(em * questions),
            func.sum(f1 * questions),
            func.sum(case((f1_high < 0, 1), else_=0)),
        )
        .where(c.time_ms >= now_ms - DAY_MS, questions.is_not(None))
        .group_by(c.model_name, c.model_version)
        .order_by(func.sum(questions).desc(), c.model_name, c.model_version)
    )
    sums: dict[ModelLabels, list[float]] = {}
    for name, version, *values in rows:
        total = sums.setdefault(names.labels(name, version), [0.0] * 4)
        for index, value in enumerate(values):
            total[index] += float(value or 0)
    for labels, (asked, em_points, f1_points, worse) in sums.items():
        if asked:
            tally.set(specs.PAIRED_QUESTIONS, asked, *labels)
            tally.set(specs.PAIRED_EM, round(em_points / asked / 100, 6), *labels)
            tally.set(specs.PAIRED_F1, round(f1_points / asked / 100, 6), *labels)
            tally.set(specs.WORSE_EVALUATIONS, worse, *labels)


def _fill_heat(tally: Tally, connection: Connection, now_ms: int) -> None:
    tally.merge(specs.TEMPERATURE, {}, 0.0)
    for flag in THROTTLE_FLAGS:
        tally.set(specs.THROTTLED, 0, flag)
    rows = connection.execute(
        select(devices.c.temperature_celsius, devices.c.throttled).where(
            presence_column(now_ms) == Presence.ONLINE.value
        )
    )
    for temperature, flags in rows:
        if temperature is not None:
            tally.observe(specs.TEMPERATURE, temperature)
        for flag in set(flags or ()) & set(THROTTLE_FLAGS):
            tally.add(specs.THROTTLED, flag)


def _fill_devices(tally: Tally, connection: Connection, most: int) -> None:
    rows = connection.execute(select(devices).order_by(devices.c.device).limit(most))
    for row in rows:
        figures: tuple[tuple[Metric, Any, float], ...] = (
            (specs.DEVICE_SEEN, row.last_seen_ms, 1000),
            (specs.DEVICE_F1, row.f1, 100),
            (specs.DEVICE_P95, row.p95_ms, 1000),
            (specs.DEVICE_TEMPERATURE, row.temperature_celsius, 1),
        )
        for metric, value, unit in figures:
            if value is not None:
                tally.set(metric, value / unit, row.device)
