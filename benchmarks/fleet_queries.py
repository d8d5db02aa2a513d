"""What the fleet's queries and metrics cost at a size: `python benchmarks/fleet_queries.py`.

Processor time of this process, medians; the devices are rows as a collector leaves them. With a
SQLite file in a temporary folder.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client import generate_latest
from sqlalchemy import insert

from edgeqa.telemetry_examples import TELEMETRY
from edgeqa.telemetry_messages import Telemetry
from edgeqa_cloud.database import Database
from edgeqa_cloud.fleet_metrics import FleetMetrics
from edgeqa_cloud.fleet_tables import list_lines
from edgeqa_cloud.metrics import CollectorMetrics
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.queries import list_devices
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.summary import fleet_summary
from edgeqa_cloud.tables import devices

_MODELS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Database.of(DatabaseSettings(database=f"sqlite:///{Path(folder)}/cloud.db")) as database,
    ):
        migrate(database)
        now_ms = round(time.time() * 1000)
        fill(database, options.devices, now_ms)
        fleet = FleetMetrics(database=database, cache_s=0).registry()
        metrics = CollectorMetrics()
        records = [Telemetry.model_validate(TELEMETRY["serving"])] * 1000
        metrics.count(*records)
        collector = metrics.registry()

        def listed() -> None:
            with database.reading() as connection:
                page = list_devices(connection, now_ms=now_ms)
            list(list_lines(page, width=None, matched=False))

        def page_of(limit: int) -> None:
            with database.reading() as connection:
                list_devices(connection, now_ms=now_ms, limit=limit)

        def summed() -> None:
            with database.reading() as connection:
                fleet_summary(connection, now_ms=now_ms)

        def report(what: str, work: Callable[[], object], unit: str = "ms", of: int = 1) -> None:
            factor = {"ms": 1e3, "µs": 1e6}[unit]
            figure = median_s(work, options.rounds) * factor / of
            print(f"{what:<48}{figure:9.2f} {unit}")

        report(f"scrape of /metrics/fleet, {options.devices:,} devices",
               lambda: generate_latest(fleet))  # fmt: skip
        report("scrape of /metrics", lambda: generate_latest(collector))
        report("counting a telemetry record", lambda: metrics.count(*records), "µs", 1000)
        report(f"edgeqa fleet: all {options.devices:,} devices", listed)
        report("the first 100 of them", lambda: page_of(100))
        report("edgeqa fleet summary", summed)


def fill(database: Database, count: int, now_ms: int) -> None:
    rows = [
        {
            "device": f"device-{number:06}", "first_seen_ms": 1, "presence": "online",
            "last_seen_ms": now_ms - number % 200 * 1000, "heartbeat_interval_s": 60.0,
            "model_name": "minilm-l6-squad", "model_version": f"0.1.{number % _MODELS}",
            "model_digest": "sha256:" + "1" * 64, "exact_match": 50.0 + number % 40,
            "f1": 55.0 + number % 40, "evaluation_questions": 50, "p95_ms": 20.0 + number % 50,
            "temperature_celsius": 40.0 + number % 45, "groups": [f"site-{number % 10}"],
            "hardware": {"board": "Raspberry Pi 5 Model B Rev 1.0", "machine": "aarch64"},
            "throttled": [],
        }
        for number in range(count)
    ]  # fmt: skip
    with database.writing() as connection:
        connection.execute(insert(devices), rows)


def median_s(work: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return statistics.median(times)


if __name__ == "__main__":
    main()
