"""The cloud's database: tables and what a row of each means. SQL lives in `edgeqa_cloud` alone.

Times end in `_ms`, milliseconds since 1970 by the cloud's clock, unless they are a device's:
`device_time_ms`. A `boot` is one start of one agent; a record is one row of a device's outbox,
known by its boot and `seq`, so that one which comes twice is stored once.

Those of rollouts are in `rollout.tables`, those of accounts in `access.tables`; `schema` knows all.

One schema for SQLite and PostgreSQL; `migrations/` brings every earlier one up to it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import JSON, TypeEngine

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def key_type() -> TypeEngine[int]:
    """Of a key that counts by itself: SQLite's does so only where it is exactly INTEGER."""
    return BigInteger().with_variant(Integer, "sqlite")


devices = Table(
    "devices",
    metadata,
    Column("id", key_type(), primary_key=True),
    Column("device", String(64), nullable=False, unique=True),
    Column("first_seen_ms", BigInteger, nullable=False),
    # Not indexed: it changes with every message, and a list of the fleet reads all devices anyway.
    Column("last_seen_ms", BigInteger, nullable=False),
    # `online` or `offline`, as last told; silence is judged when it is read (`presence.py`).
    Column("presence", String(16)),
    Column("presence_reason", String(64)),
    Column("presence_ms", BigInteger),  # when that was told
    # Of the newest start that was heard of.
    Column("boot_id", String(64)),
    Column("heartbeat_interval_s", Float),
    # The device's clock minus ours; from heartbeats, which are sent when they are written.
    Column("skew_ms", BigInteger),
    Column("agent_version", String(64)),
    Column("onnxruntime_version", String(64)),
    Column("groups", JSON),
    Column("hardware", JSON),
    Column("model_name", String(64)),
    Column("model_version", String(64)),
    Column("model_digest", String(80)),
    # The last `model/reported`, whole, and when it came.
    Column("reported", JSON),
    Column("reported_ms", BigInteger, index=True),
    # The last figures, here so that a list of the fleet joins nothing.
    Column("evaluated_ms", BigInteger),
    Column("evaluation_questions", BigInteger),
    Column("exact_match", Float),
    Column("f1", Float),
    Column("telemetry_ms", BigInteger),
    Column("answered", BigInteger),  # of the last telemetry that had any
    Column("p50_ms", Float),
    Column("p95_ms", Float),
    Column("temperature_celsius", Float),
    Column("throttled", JSON),
    Column("resident_bytes", BigInteger),
)

boots = Table(
    "boots",
    metadata,
    Column("id", key_type(), primary_key=True),
    Column("device_id", ForeignKey("devices.id"), nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("last_seen_ms", BigInteger, nullable=False),
    # Our time at the boot's `uptime_ms` 0: the least of (received - uptime) over its heartbeats.
    Column("epoch_ms", BigInteger),
    # All records up to here are settled: stored, quarantined, or known to be lost.
    Column("settled", BigInteger, nullable=False, server_default="0"),
    # The broker had acknowledged all up to here, as a heartbeat told at `announced_ms`.
    Column("announced", BigInteger, nullable=False, server_default="0"),
    Column("announced_ms", BigInteger),
    # The oldest that the device can still send.
    Column("held_from", BigInteger),
    UniqueConstraint("device_id", "boot_id"),
)

records = Table(
    "records",
    metadata,
    # Of `boots`. Not a foreign key: whoever stores a record makes its boot first, in the same
    # transaction, and a check for each of thousands of rows a second would be felt.
    Column("boot", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    # A `RecordKind`, or `quarantined`: it came, and lies in `quarantine`; its payload is empty.
    Column("kind", String(16), nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("device_time_ms", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False, index=True),
    Column("payload", Text, nullable=False),  # as it came, JSON
)
Index("ix_records_boot_time_ms", records.c.boot, records.c.time_ms)

evaluations = Table(
    "evaluations",
    metadata,
    Column("boot", ForeignKey("boots.id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("device_id", ForeignKey("devices.id"), nullable=False),
    Column("time_ms", BigInteger, nullable=False, index=True),
    Column("model_name", String(64), nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("model_digest", String(80), nullable=False),
    Column("trigger", String(16), nullable=False),
    Column("dataset", String(256), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("slice_id", String(64), nullable=False),
    Column("questions", BigInteger, nullable=False),
    Column("exact_match", Float, nullable=False),
    Column("exact_match_low", Float, nullable=False),
    Column("exact_match_high", Float, nullable=False),
    Column("f1", Float, nullable=False),
    Column("f1_low", Float, nullable=False),
    Column("f1_high", Float, nullable=False),
    Column("total_ms", Float, nullable=False),
    Column("mean_ms", Float, nullable=False),
    Column("p50_ms", Float, nullable=False),
    Column("p95_ms", Float, nullable=False),
    Column("p99_ms", Float, nullable=False),
    Column("paired", JSON),
)
Index("ix_evaluations_device_id_time_ms", evaluations.c.device_id, evaluations.c.time_ms)

swaps = Table(
    "swaps",
    metadata,
    Column("boot", ForeignKey("boots.id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("device_id", ForeignKey("devices.id"), nullable=False),
    Column("time_ms", BigInteger, nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("name", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("digest", String(80)),
    Column("wish", String(128)),
    Column("rollout", String(128)),
    Column("code", String(64)),
    Column("message", Text),
    Column("duration_ms", Float),
)
Index("ix_swaps_device_id_time_ms", swaps.c.device_id, swaps.c.time_ms)

gaps = Table(
    "gaps",
    metadata,
    Column("boot", ForeignKey("boots.id"), primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("last", BigInteger, nullable=False),
    Column("found_ms", BigInteger, nullable=False),
    Column("asked_ms", BigInteger),
    Column("asked", Integer, nullable=False, server_default="0"),
    # `open`, `filled`, or `lost`: the device does not hold them any more.
    Column("state", String(8), nullable=False, index=True),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", key_type(), primary_key=True),
    Column("received_ms", BigInteger, nullable=False, index=True),
    Column("topic", Text, nullable=False),
    Column("device", String(64)),  # of the topic
    Column("code", String(64), nullable=False, index=True),
    Column("message", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),  # as it came
    Column("payload", LargeBinary, nullable=False),  # cut to a bound
)

rollups = Table(
    "rollups",
    metadata,
    Column("device_id", ForeignKey("devices.id"), primary_key=True),
    Column("period", String(8), primary_key=True),  # `hour` or `day`
    Column("start_ms", BigInteger, primary_key=True),
    Column("model_digest", String(80), primary_key=True),  # empty where no model served
    Column("records", BigInteger, nullable=False),
    Column("covered_s", Float, nullable=False),
    Column("answered", BigInteger, nullable=False),
    Column("outcomes", JSON, nullable=False),
    Column("total", JSON),  # histograms of `Latency`
    Column("inference", JSON),
    Column("queue", JSON),
    Column("temperature_max_celsius", Float),
    Column("resident_bytes_max", BigInteger),
    Column("cpu_load_mean", Float),
    Column("reconnects", BigInteger, nullable=False),
    Column("evaluations", Integer, nullable=False),
    Column("evaluation_questions", BigInteger, nullable=False),
    Column("exact_match", Float),  # weighted by questions
    Column("f1", Float),
)
Index("ix_rollups_period_start_ms", rollups.c.period, rollups.c.start_ms)

rollups_due = Table(
    "rollups_due",
    metadata,
    # An hour of a device that got records which its roll-up does not hold yet.
    Column("device_id", ForeignKey("devices.id"), primary_key=True),
    Column("start_ms", BigInteger, primary_key=True, autoincrement=False),
    # Another number each time: whoever rolls the hour up sees whether more came meanwhile.
    Column("mark", BigInteger, nullable=False),
)

# Hours of the whole fleet, from the roll-ups of all devices.
fleet_hours = Table(
    "fleet_hours",
    metadata,
    Column("start_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("devices", Integer, nullable=False),  # that sent any telemetry
    Column("covered_s", Float, nullable=False),
    Column("answered", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("total", JSON),  # histogram of the whole answer
    Column("temperature_max_celsius", Float),
    Column("evaluation_questions", BigInteger, nullable=False),
    Column("exact_match", Float),  # weighted by questions
    Column("f1", Float),
)

fleet_hours_due = Table(
    "fleet_hours_due",
    metadata,
    # An hour of which a device's roll-up changed since it was added up.
    Column("start_ms", BigInteger, primary_key=True, autoincrement=False),
    # Another time with each change: whoever adds up sees whether more came meanwhile.
    Column("mark_ms", BigInteger, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    # A job of which only one collector may do at a time.
    Column("name", String(64), primary_key=True),
    Column("holder", String(128), nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)
