"""A fleet in a database, made row by row: what a collector would have stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import insert

from edgeqa.histogram import Histogram
from edgeqa.telemetry_examples import EVALUATIONS, TELEMETRY
from edgeqa.telemetry_messages import Telemetry
from edgeqa_cloud import tables
from edgeqa_cloud.database import Database

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
OLD = {"name": "minilm-l6-squad", "version": "0.1.1", "digest": f"sha256:{'1' * 64}"}
NEW = {"name": "minilm-l3-distil-squad", "version": "0.2.0", "digest": f"sha256:{'2' * 64}"}


@dataclass
class Fleet:
    """Rows for a database that is migrated.

    Attributes:
        database: to write to.
        now_ms: the present.
    """

    database: Database
    now_ms: int
    _boots: dict[int, int] = field(default_factory=dict)
    _seq: dict[int, int] = field(default_factory=dict)

    def device(self, device: str, **columns: Any) -> int:
        """A device that is online and has a boot; returns its key."""
        row = {
            "device": device,
            "first_seen_ms": self.now_ms - 30 * 24 * HOUR_MS,
            "last_seen_ms": self.now_ms - 12_000,
            "presence": "online",
            "boot_id": f"boot-{device}"[:64],
            "heartbeat_interval_s": 60.0,
            "skew_ms": 3,
            "agent_version": "0.1.0",
            "onnxruntime_version": "1.23.2",
            "groups": ["site-1"],
            "hardware": {"machine": "aarch64", "board": "Raspberry Pi 5 Model B Rev 1.0",
                         "cpus": 4, "memory_bytes": 8 << 30},
            "model_name": OLD["name"],
            "model_version": OLD["version"],
            "model_digest": OLD["digest"],
            "reported": {"state": "active"},
            "evaluated_ms": self.now_ms - HOUR_MS,
            "evaluation_questions": 50,
            "exact_match": 76.0,
            "f1": 80.5,
            "telemetry_ms": self.now_ms - 30_000,
            "answered": 3,
            "p50_ms": 19.4,
            "p95_ms": 64.2,
            "temperature_celsius": 51.6,
            "throttled": [],
            "resident_bytes": 234_881_024,
        } | columns  # fmt: skip
        with self.database.writing() as connection:
            key = connection.execute(insert(tables.devices).values(row)).inserted_primary_key
            assert key is not None
            boot = connection.execute(
                insert(tables.boots).values(
                    device_id=key[0], boot_id=row["boot_id"] or "none",
                    first_seen_ms=self.now_ms - 24 * HOUR_MS, last_seen_ms=self.now_ms,
                    epoch_ms=self.now_ms - 24 * HOUR_MS, settled=40, announced=41,
                    announced_ms=self.now_ms,
                )
            ).inserted_primary_key  # fmt: skip
            assert boot is not None
        self._boots[key[0]] = boot[0]
        return int(key[0])

    def many(self, count: int) -> None:
        """Devices without boots, quickly."""
        rows = [
            {
                "device": f"sim-{number:05}", "first_seen_ms": 1, "presence": "online",
                "last_seen_ms": self.now_ms - number % 200 * 1000, "heartbeat_interval_s": 60.0,
                "model_name": OLD["name"], "model_version": f"0.1.{number % 30}",
                "model_digest": OLD["digest"], "exact_match": 50 + number % 40,
                "f1": 55 + number % 40, "evaluation_questions": 50,
                "p95_ms": 20.0 + number % 50, "temperature_celsius": 40.0 + number % 45,
                "groups": [f"site-{number % 10}"],
            }
            for number in range(count)
        ]  # fmt: skip
        with self.database.writing() as connection:
            connection.execute(insert(tables.devices), rows)

    def telemetry(self, key: int, *, age_ms: int, **fields: Any) -> Telemetry:
        """A record of telemetry; `fields` replace those of the example."""
        seq, time_ms = self._next(key), self.now_ms - age_ms
        record = {**TELEMETRY["serving"], "seq": seq, "time_ms": time_ms} | fields
        with self.database.writing() as connection:
            connection.execute(
                insert(tables.records).values(
                    boot=self._boots[key], seq=seq, kind="telemetry", time_ms=time_ms,
                    device_time_ms=time_ms, received_ms=time_ms, payload=json.dumps(record),
                )
            )  # fmt: skip
        return Telemetry.model_validate(record)

    def rollup(self, key: int, *, age_ms: int, period: str = "hour", **columns: Any) -> None:
        """A roll-up that begins so long ago, at the beginning of its hour or day."""
        length = HOUR_MS if period == "hour" else 24 * HOUR_MS
        row = {
            "device_id": key, "period": period, "model_digest": OLD["digest"],
            "start_ms": (self.now_ms - age_ms) // length * length,
            "records": 60, "covered_s": 3600.0, "answered": 100,
            "outcomes": {"answered": 100, "busy": 2}, "total": spread([20.0] * 95 + [200.0] * 5),
            "inference": spread([15.0] * 100), "queue": spread([0.5] * 100),
            "temperature_max_celsius": 60.0, "resident_bytes_max": 200_000_000,
            "cpu_load_mean": 0.25, "reconnects": 1, "evaluations": 0, "evaluation_questions": 0,
        } | columns  # fmt: skip
        with self.database.writing() as connection:
            connection.execute(insert(tables.rollups).values(row))

    def evaluation(
        self, key: int, *, age_ms: int, model: Mapping[str, str] = OLD, **columns: Any
    ) -> None:
        """An evaluation; with `paired` it was compared with the model before."""
        row = {
            "boot": self._boots[key], "seq": self._next(key), "device_id": key,
            "time_ms": self.now_ms - age_ms, "model_name": model["name"],
            "model_version": model["version"], "model_digest": model["digest"],
            "trigger": "schedule", "dataset": "edgeqa-devices", "fingerprint": "f" * 64,
            "slice_id": "s0b2f7a1e9c4d8e3f", "questions": 50, "exact_match": 76.0,
            "exact_match_low": 62.6, "exact_match_high": 85.7, "f1": 80.5, "f1_low": 70.1,
            "f1_high": 89.6, "total_ms": 1043.0, "mean_ms": 20.9, "p50_ms": 19.4, "p95_ms": 31.0,
            "p99_ms": 38.2,
        } | columns  # fmt: skip
        with self.database.writing() as connection:
            connection.execute(insert(tables.evaluations).values(row))

    def swap(self, key: int, *, age_ms: int, **columns: Any) -> None:
        """The end of a swap."""
        row = {
            "boot": self._boots[key], "seq": self._next(key), "device_id": key,
            "time_ms": self.now_ms - age_ms, "state": "active", "name": NEW["name"],
            "version": NEW["version"], "digest": NEW["digest"], "duration_ms": 5120.0,
        } | columns  # fmt: skip
        with self.database.writing() as connection:
            connection.execute(insert(tables.swaps).values(row))

    def gap(self, key: int, first: int, last: int, state: str = "open") -> None:
        """Records that are missing."""
        with self.database.writing() as connection:
            connection.execute(
                insert(tables.gaps).values(
                    boot=self._boots[key], first=first, last=last, state=state,
                    found_ms=self.now_ms - MINUTE_MS, asked=2,
                )
            )  # fmt: skip

    def quarantine(self, codes: Iterable[str]) -> None:
        """Messages that could not be stored."""
        with self.database.writing() as connection:
            for code in codes:
                connection.execute(
                    insert(tables.quarantine).values(
                        received_ms=self.now_ms, topic="edgeqa/v1/devices/pi5/telemetry",
                        device="pi5", code=code, message="no", bytes=3, payload=b"{}",
                    )
                )  # fmt: skip

    def _next(self, key: int) -> int:
        self._seq[key] = self._seq.get(key, 0) + 1
        return self._seq[key]


def spread(values: Iterable[float]) -> dict[str, Any]:
    """A histogram as the database holds it."""
    return Histogram.of(values).model_dump()


def paired(f1: float, low: float, high: float, em: float = 0.0) -> dict[str, Any]:
    """What an evaluation says of the model before."""
    return {
        **EVALUATIONS["afterSwap"]["paired"], "previous": OLD, "exact_match_difference": em,
        "f1_difference": f1, "f1_interval": [low, high],
    }  # fmt: skip
