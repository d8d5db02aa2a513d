"""Rollouts as Prometheus sees them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import generate_latest
from sqlalchemy import insert
from support.fleet import NEW, Fleet
from support.fleet_databases import Databases
from support.rollout_rows import RolloutRows

from edgeqa_cloud.database import Database
from edgeqa_cloud.fleet_metrics import FleetMetrics
from edgeqa_cloud.rollout.tables import rollout_orders, wishes

NOW_MS = 1_800_000_000_000


@pytest.fixture
def database(cloud_databases: Databases) -> Iterator[Database]:
    with cloud_databases.open(cloud_databases.new()) as database:
        yield database


def scraped(database: Database) -> dict[str, float]:
    metrics = FleetMetrics(database=database, clock=lambda: NOW_MS / 1000)
    lines = generate_latest(metrics.registry()).decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


def test_a_cloud_without_rollouts_says_so(database: Database) -> None:
    found = scraped(database)
    assert found['edgeqa_fleet_rollouts{state="running"}'] == 0
    assert found["edgeqa_fleet_wishes_waiting"] == 0
    assert found["edgeqa_fleet_wishes_waiting_seconds"] == 0
    assert found["edgeqa_fleet_orders_waiting_seconds"] == 0


def test_what_waits_is_counted_and_aged(database: Database) -> None:
    key = Fleet(database, NOW_MS).device("pi")
    rows = RolloutRows(database, NOW_MS)
    for state in ("running", "paused", "paused"):
        rows.rollout([(key, 0, "wished")], state=state)
    wish = {"rollout_id": 1, "device_id": key, "device": "pi", "payload": NEW["name"]}
    order = {"rollout_id": 1, "action": "undo", "actor": "user:anna", "note": ""}
    with database.writing() as connection:
        for age_s, published_ms in ((90, NOW_MS), (30, None), (10, None)):
            made_ms = NOW_MS - 1000 * age_s
            connection.execute(
                insert(wishes).values({**wish, "made_ms": made_ms, "published_ms": published_ms})
            )
        for age_s, state in ((90, "obeyed"), (20, "waiting"), (5, "waiting")):
            ordered_ms = NOW_MS - 1000 * age_s
            connection.execute(
                insert(rollout_orders).values({**order, "ordered_ms": ordered_ms, "state": state})
            )
    found = scraped(database)
    assert found['edgeqa_fleet_rollouts{state="running"}'] == 1
    assert found['edgeqa_fleet_rollouts{state="paused"}'] == 2
    assert found["edgeqa_fleet_wishes_waiting"] == 2
    assert found["edgeqa_fleet_wishes_waiting_seconds"] == 30
    assert found["edgeqa_fleet_orders_waiting_seconds"] == 20
