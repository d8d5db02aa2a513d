"""How devices served with one model, from their telemetry: before a change from hourly roll-ups and
the records behind them, after it from records as they come.

A record counts for the model that it names. One that covers the moment of the change belongs to
neither side.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, select

from edgeqa.histogram import Histogram, Recorder
from edgeqa.telemetry_messages import RecordKind
from edgeqa_cloud.rollout import lost_questions
from edgeqa_cloud.rollout.model import Served
from edgeqa_cloud.tables import boots, records, rollups

HOUR_MS = 3_600_000
# Memory and mean temperature before the change are those of its last hour: roll-ups keep extremes.
_VITALS_MS = HOUR_MS
# What no roll-up holds, or where there are none: half a day with a record a minute.
_MAX_RECORDS = 720
_CHUNK = 900
# Records may be committed so much later than they came.
_OVERLAP_MS = 60_000


@dataclass(slots=True)
class Sum:
    """What some telemetry adds up to."""

    records: int = 0
    answered: int = 0
    failed: int = 0
    latency: Recorder = field(default_factory=Recorder)
    resident_bytes: float = 0.0
    resident_records: int = 0
    hottest: float | None = None
    celsius: float = 0.0
    celsius_records: int = 0
    # Of roll-ups, for want of better.
    resident_most: int | None = None

    def add_record(self, record: Mapping[str, Any]) -> None:
        """A record of telemetry, whole."""
        self.records += 1
        self._questions(record.get("outcomes") or {})
        _merge(self.latency, (record.get("latency") or {}).get("total"))
        self.add_vitals(record)

    def add_vitals(self, record: Mapping[str, Any]) -> None:
        """Its memory and temperature alone."""
        resident = sum(one["resident_bytes"] for one in record.get("processes") or ())
        if resident:
            self.resident_bytes += resident
            self.resident_records += 1
        celsius = record.get("temperature_celsius")
        if celsius is not None:
            self.celsius += celsius
            self.celsius_records += 1
        for value in (celsius, record.get("temperature_max_celsius")):
            self._heat(value)

    def add_rollup(self, row: Row[Any]) -> None:
        """An hour."""
        self.records += row.records
        self._questions(row.outcomes or {})
        _merge(self.latency, row.total)
        self._heat(row.temperature_max_celsius)
        if row.resident_bytes_max is not None:
            self.resident_most = max(row.resident_bytes_max, self.resident_most or 0)

    def served(self) -> Served | None:
        """The figures; None of nothing."""
        if not self.records and not self.resident_records and not self.celsius_records:
            return None
        latency = self.latency.histogram()
        resident: float | None = self.resident_most
        if self.resident_records:
            resident = self.resident_bytes / self.resident_records
        return Served(
            answered=self.answered,
            failed=self.failed,
            latency=latency if latency.count else None,
            resident_bytes=resident,
            temperature_celsius=self.hottest,
            temperature_mean_celsius=(
                self.celsius / self.celsius_records if self.celsius_records else None
            ),
        )

    def _questions(self, outcomes: Mapping[str, int]) -> None:
        answered, failed = lost_questions.count(outcomes)
        self.answered += answered
        self.failed += failed

    def _heat(self, celsius: float | None) -> None:
        if celsius is not None:
            self.hottest = celsius if self.hottest is None else max(self.hottest, celsius)


def served_before(
    connection: Connection,
    device_id: int,
    *,
    digest: str | None,
    not_digest: str,
    since_ms: int,
    until_ms: int,
) -> Served | None:
    """How a device served before its turn.

    Args:
        connection: in a transaction.
        device_id: whose.
        digest: of the model that it had then; None: any but `not_digest`.
        not_digest: of the new model.
        since_ms: its past counts from here on.
        until_ms: its turn.
    """
    total = Sum()
    begin_ms = since_ms

    def counts(model: str | None) -> bool:
        return bool(model) and (model == digest if digest is not None else model != not_digest)

    for row in _hours(connection, device_id, since_ms=since_ms, until_ms=until_ms):
        begin_ms = max(begin_ms, row.start_ms + HOUR_MS)
        if counts(row.model_digest):
            total.add_rollup(row)
    vitals_ms = max(since_ms, until_ms - _VITALS_MS)
    tail = _records(connection, device_id, since_ms=min(begin_ms, vitals_ms), until_ms=until_ms)
    for time_ms, record in tail:
        if not counts(_digest(record)):
            continue
        if _begin_ms(time_ms, record) >= begin_ms:
            total.add_record(record)
        elif time_ms >= vitals_ms:
            total.add_vitals(record)
    return total.served()


class ServedSince:
    """How devices serve since their change; reads each record once.

    Args:
        digest: of the new model.
    """

    def __init__(self, digest: str) -> None:
        self._digest = digest
        self._since: dict[int, int] = {}
        self._sums: dict[int, Sum] = {}
        self._read_ms: int | None = None
        # Records of the overlap that were counted.
        self._counted: dict[tuple[int, int], int] = {}

    def read(self, connection: Connection, changed: Mapping[int, int], *, now_ms: int) -> None:
        """Take in what has come.

        Args:
            connection: in a transaction.
            changed: when each device had changed, by device; those absent are forgotten.
            now_ms: by our clock.
        """
        for gone in self._since.keys() - changed.keys():
            del self._since[gone]
            self._sums.pop(gone, None)
        known = {one for one, since in self._since.items() if changed[one] == since}
        if known and self._read_ms is not None:
            self._read_new(connection, known, received_ms=self._read_ms - _OVERLAP_MS)
        for device_id in sorted(changed.keys() - known):
            self._since[device_id] = changed[device_id]
            self._sums[device_id] = Sum()
            since_ms = changed[device_id]
            for boot, seq, received_ms, time_ms, record in _numbered(
                connection, device_id, since_ms=since_ms
            ):
                self._count((boot, seq), received_ms, device_id, time_ms, record)
        self._read_ms = now_ms
        oldest_ms = now_ms - 2 * _OVERLAP_MS
        self._counted = {one: at for one, at in self._counted.items() if at >= oldest_ms}

    def served(self, device_id: int) -> Served | None:
        """How it serves."""
        total = self._sums.get(device_id)
        return None if total is None else total.served()

    def _read_new(self, connection: Connection, known: set[int], *, received_ms: int) -> None:
        wanted = sorted(known)
        for start in range(0, len(wanted), _CHUNK):
            query = (
                select(boots.c.device_id, records.c.boot, records.c.seq, records.c.received_ms,
                       records.c.time_ms, records.c.payload)
                .join(boots, boots.c.id == records.c.boot)
                .where(
                    records.c.received_ms >= received_ms,
                    records.c.kind == RecordKind.TELEMETRY.value,
                    # Not by an index: the few records that are new are found by when they came.
                    (boots.c.device_id + 0).in_(wanted[start : start + _CHUNK]),
                )
            )  # fmt: skip
            for device_id, boot, seq, came_ms, time_ms, payload in connection.execute(query):
                if (boot, seq) not in self._counted:
                    self._count((boot, seq), came_ms, device_id, time_ms, json.loads(payload))

    def _count(
        self,
        key: tuple[int, int],
        received_ms: int,
        device_id: int,
        time_ms: int,
        record: Mapping[str, Any],
    ) -> None:
        self._counted[key] = received_ms
        since_ms = self._since[device_id]
        if _digest(record) == self._digest and _begin_ms(time_ms, record) >= since_ms:
            self._sums[device_id].add_record(record)


def _hours(
    connection: Connection, device_id: int, *, since_ms: int, until_ms: int
) -> Iterable[Row[Any]]:
    return connection.execute(
        select(rollups)
        .where(
            rollups.c.device_id == device_id,
            rollups.c.period == "hour",
            rollups.c.start_ms >= since_ms,
            rollups.c.start_ms <= until_ms - HOUR_MS,
        )
        .order_by(rollups.c.start_ms)
    )


def _records(
    connection: Connection, device_id: int, *, since_ms: int, until_ms: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    query = (
        select(records.c.time_ms, records.c.payload)
        .join(boots, boots.c.id == records.c.boot)
        .where(
            boots.c.device_id == device_id,
            records.c.kind == RecordKind.TELEMETRY.value,
            records.c.time_ms >= since_ms,
            records.c.time_ms <= until_ms,
        )
        .order_by(records.c.time_ms.desc())
        .limit(_MAX_RECORDS)
    )
    for time_ms, payload in connection.execute(query):
        yield time_ms, json.loads(payload)


def _numbered(
    connection: Connection, device_id: int, *, since_ms: int
) -> Iterator[tuple[int, int, int, int, dict[str, Any]]]:
    query = (
        select(records.c.boot, records.c.seq, records.c.received_ms, records.c.time_ms,
               records.c.payload)
        .join(boots, boots.c.id == records.c.boot)
        .where(
            boots.c.device_id == device_id,
            records.c.kind == RecordKind.TELEMETRY.value,
            records.c.time_ms >= since_ms,
        )
        .order_by(records.c.time_ms.desc())
        .limit(_MAX_RECORDS)
    )  # fmt: skip
    for boot, seq, received_ms, time_ms, payload in connection.execute(query):
        yield boot, seq, received_ms, time_ms, json.loads(payload)


def _begin_ms(time_ms: int, record: Mapping[str, Any]) -> int:
    """From when on the record tells."""
    return time_ms - round(1000 * (record.get("interval_s") or 0.0))


def _digest(record: Mapping[str, Any]) -> str | None:
    digest = (record.get("model") or {}).get("digest")
    return digest if isinstance(digest, str) else None


def _merge(recorder: Recorder, histogram: Mapping[str, Any] | None) -> None:
    if histogram:
        recorder.merge(Histogram.model_construct(**histogram))
