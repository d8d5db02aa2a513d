"""A database as collectors leave it after a month of a large fleet, made by a few statements."""

from __future__ import annotations

import json
import random
import time
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    cast,
    func,
    insert,
    literal,
    select,
    text,
)

from edgeqa.histogram import Histogram
from edgeqa.telemetry_examples import EVALUATIONS, TELEMETRY
from edgeqa_cloud.access import account_rows
from edgeqa_cloud.access.roles import Kind, Role
from edgeqa_cloud.access.secrets_at_rest import hash_password
from edgeqa_cloud.database import Database
from edgeqa_cloud.fleet_hours import SETTLE_MS, FleetHours
from edgeqa_cloud.tables import (
    boots,
    devices,
    evaluations,
    fleet_hours,
    fleet_hours_due,
    records,
    rollups,
)

HOUR_MS, DAY_MS, MINUTE_MS = 3_600_000, 86_400_000, 60_000
# Roll-ups of an hour are there so long after its end.
_ROLLED_MS = 15 * MINUTE_MS
_VARIANTS = 8
_DIGEST = "sha256:" + "1" * 64
_EVALUATIONS_A_DAY = 4


def fill(database: Database, *, devices: int, days: int, now_ms: int) -> int:
    """All rows; how many."""
    end_ms = (now_ms - _ROLLED_MS) // HOUR_MS * HOUR_MS
    rng = random.Random(1)
    with database.writing() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE steps (n INTEGER PRIMARY KEY)"))
        connection.execute(text("INSERT INTO steps VALUES (:n)"),
                           [{"n": n} for n in range(max(days * 24, 120))])  # fmt: skip
        _devices(connection, devices, now_ms, days)
        for period, length_ms, count in (("hour", HOUR_MS, days * 24), ("day", DAY_MS, days)):
            first_ms = end_ms // length_ms * length_ms - count * length_ms
            for variant in range(_VARIANTS):
                values = _rollup(rng, length_ms)
                _each(connection, rollups, values, count=count, variant=variant,
                      start=(first_ms, length_ms), extra={"period": period})  # fmt: skip
        _evaluations(connection, days * _EVALUATIONS_A_DAY, now_ms)
        _records(connection, end_ms, now_ms)
        connection.execute(insert(fleet_hours_due).values(start_ms=end_ms - HOUR_MS, mark_ms=0))
    began = time.monotonic()
    FleetHours(database=database).add_up(now_ms=now_ms + SETTLE_MS)
    print(f"adding an hour of {devices:,} devices up: {time.monotonic() - began:.2f} s")
    with database.writing() as connection:
        made = dict(connection.execute(select(fleet_hours)).mappings().one())
        others = [{**made, "start_ms": end_ms - (n + 1) * HOUR_MS} for n in range(1, days * 24)]
        connection.execute(insert(fleet_hours), others)
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))
        # PostgreSQL's driver does not tell how many an INSERT … SELECT made.
        counts = (select(func.count()).select_from(one) for one in (rollups, evaluations, records))
        return sum(connection.execute(one).scalar_one() for one in counts)


def with_accounts(database: Database, password: str) -> None:
    """A user who may do all."""
    with database.writing() as connection:
        account_rows.create(
            connection, Kind.USER, "bench", role=Role.ADMIN, secret=hash_password(password),
            actor="bench", now_ms=0,
        )  # fmt: skip


def _devices(connection: Connection, count: int, now_ms: int, days: int) -> None:
    rows = [
        {
            "id": number + 1, "device": f"device-{number:06}",
            "first_seen_ms": now_ms - days * DAY_MS, "presence": "online",
            "last_seen_ms": now_ms - number % 100 * 1000, "heartbeat_interval_s": 3600.0,
            "boot_id": f"boot-{number:06}", "agent_version": "0.1.0",
            "model_name": "minilm-l6-squad", "model_version": f"0.1.{number % 30}",
            "model_digest": _DIGEST, "exact_match": 50.0 + number % 40, "f1": 55.0 + number % 40,
            "evaluated_ms": now_ms, "evaluation_questions": 50, "answered": 3, "p50_ms": 20.0,
            "p95_ms": 20.0 + number % 50, "temperature_celsius": 40.0 + number % 45,
            "groups": [f"site-{number % 10}"], "throttled": [], "reported": {"state": "active"},
            "hardware": {"board": "Raspberry Pi 5 Model B Rev 1.0", "machine": "aarch64",
                         "cpus": 4, "memory_bytes": 8 << 30},
        }
        for number in range(count)
    ]  # fmt: skip
    connection.execute(insert(devices), rows)
    connection.execute(
        insert(boots),
        [
            {"id": row["id"], "device_id": row["id"], "boot_id": row["boot_id"],
             "first_seen_ms": row["first_seen_ms"], "last_seen_ms": now_ms, "settled": 1,
             "announced": 1, "epoch_ms": row["first_seen_ms"], "announced_ms": now_ms}
            for row in rows
        ],
    )  # fmt: skip


def _each(
    connection: Connection,
    table: Table,
    values: dict[str, Any],
    *,
    count: int,
    variant: int,
    start: tuple[int, int],
    extra: dict[str, Any],
) -> None:
    """A row for each device and step that this variant is for."""
    steps = _steps()
    first_ms, length_ms = start
    fixed = {**values, **extra}
    columns = {name: literal(value, table.c[name].type) for name, value in fixed.items()}
    query = (
        select(
            devices.c.id,
            (literal(first_ms, rollups.c.start_ms.type) + steps.c.n * literal(
                length_ms, rollups.c.start_ms.type)),
            *columns.values(),
        )
        .select_from(devices.join(steps, steps.c.n < count))
        .where((devices.c.id + steps.c.n) % _VARIANTS == variant)
        .order_by(devices.c.id, steps.c.n)
    )  # fmt: skip
    names = ["device_id", "start_ms", *columns]
    connection.execute(insert(table).from_select(names, query))


def _steps() -> Table:
    return Table("steps", MetaData(), Column("n", Integer, primary_key=True))


def _rollup(rng: random.Random, length_ms: int) -> dict[str, Any]:
    answered = 100 * length_ms // HOUR_MS
    return {
        "model_digest": _DIGEST, "records": 60, "covered_s": length_ms / 1000,
        "answered": answered, "outcomes": {"answered": answered, "busy": 2},
        "total": _spread(rng, 25.0, answered), "inference": _spread(rng, 18.0, answered),
        "queue": _spread(rng, 0.5, answered), "temperature_max_celsius": 55.0 + 10 * rng.random(),
        "resident_bytes_max": 200_000_000, "cpu_load_mean": 0.3, "reconnects": 0,
        "evaluations": 0, "evaluation_questions": 50, "exact_match": 70 + 5 * rng.random(),
        "f1": 75 + 5 * rng.random(),
    }  # fmt: skip


def _spread(rng: random.Random, middle_ms: float, count: int) -> dict[str, Any]:
    values = (middle_ms * rng.lognormvariate(0, 0.5) for _ in range(min(count, 500)))
    return Histogram.of(values).model_dump()


def _evaluations(connection: Connection, count: int, now_ms: int) -> None:
    steps = _steps()
    one = EVALUATIONS["afterSwap"]
    big = evaluations.c.time_ms.type
    fixed = {
        "model_name": "minilm-l6-squad", "model_version": "0.1.1", "model_digest": _DIGEST,
        "trigger": "schedule", "dataset": "edgeqa-devices", "fingerprint": "f" * 64,
        "slice_id": "s1", "questions": 50, "exact_match": 76.0, "exact_match_low": 62.0,
        "exact_match_high": 85.0, "f1": 80.0, "f1_low": 70.0, "f1_high": 89.0,
        "total_ms": 1000.0, "mean_ms": 20.0, "p50_ms": 19.0, "p95_ms": 31.0, "p99_ms": 38.0,
        "paired": one.get("paired"),
    }  # fmt: skip
    columns = {name: literal(value, evaluations.c[name].type) for name, value in fixed.items()}
    step_ms = DAY_MS // _EVALUATIONS_A_DAY
    query = (
        select(
            devices.c.id, cast(steps.c.n, big) + 1, devices.c.id,
            literal(now_ms, big) - steps.c.n * literal(step_ms, big)
            - devices.c.id * literal(997, big) % literal(step_ms, big),
            *columns.values(),
        )
        .select_from(devices.join(steps, steps.c.n < count))
        .order_by(devices.c.id, steps.c.n)
    )  # fmt: skip
    names = ["boot", "seq", "device_id", "time_ms", *columns]
    connection.execute(insert(evaluations).from_select(names, query))


def _records(connection: Connection, end_ms: int, now_ms: int) -> None:
    """A record a minute of each device, since the last hour that is rolled up."""
    steps = _steps()
    big = records.c.time_ms.type
    payload = json.dumps({**TELEMETRY["serving"], "time_ms": now_ms})
    at = (
        literal(now_ms, big) - steps.c.n * literal(MINUTE_MS, big)
        - devices.c.id * literal(997, big) % literal(MINUTE_MS, big)
    )  # fmt: skip
    query = (
        select(
            devices.c.id, literal(1_000_000, big) - steps.c.n, literal("telemetry"), at, at, at,
            literal(payload),
        )
        .select_from(devices.join(steps, steps.c.n < (now_ms - end_ms) // MINUTE_MS))
        .order_by(devices.c.id, steps.c.n.desc())
    )  # fmt: skip
    names = ["boot", "seq", "kind", "time_ms", "device_time_ms", "received_ms", "payload"]
    connection.execute(insert(records).from_select(names, query))
