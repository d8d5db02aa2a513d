"""What looking up a target costs: `python benchmarks/targets.py`.

Time by the wall clock, medians over rounds in which all targets take turns, on SQLite in a file and
on a PostgreSQL of this command's own. A fifth of the devices has one of five tags.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import insert

from edgeqa.postgres_process import PostgresServer
from edgeqa_cloud.database import Database
from edgeqa_cloud.device_filter import DeviceFilter
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.queries import list_devices
from edgeqa_cloud.rollout.spec import Target
from edgeqa_cloud.rollout.tables import device_tags
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.tables import devices
from edgeqa_cloud.targets.query import parse
from edgeqa_cloud.targets.resolve import resolve

_QUERY = 'em>=70 (board~"pi 5" or memory>=4) not tag=tag-1 seen<10m group~site-*'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    now_ms = round(time.time() * 1000)
    with tempfile.TemporaryDirectory(prefix="edgeqa-") as folder:
        for name, url in urls(Path(folder)):
            with Database.of(DatabaseSettings(database=url)) as database:
                migrate(database)
                fill(database, options.devices, now_ms)
                measure(name, database, options.devices, options.rounds, now_ms)


def urls(folder: Path) -> Iterator[tuple[str, str]]:
    yield "SQLite", f"sqlite:///{folder}/cloud.db"
    with postgres() as url:
        yield "PostgreSQL", url


@contextmanager
def postgres() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="edgeqa-") as folder:
        server = PostgresServer(Path(folder) / "postgres", durable=False)
        server.make()
        with server.running():
            yield server.url


def measure(name: str, database: Database, count: int, rounds: int, now_ms: int) -> None:
    targets = {
        "all": Target(all=True),
        "each by its id": Target(devices=[f"device-{one:06}" for one in range(count)]),
        "a group": Target(groups=["site-3"]),
        "two tags": Target(tags=["tag-1", "tag-2"]),
        "a long query": Target(query=_QUERY),
    }
    times: dict[str, list[float]] = {what: [] for what in [*targets, "list: 100 by that query"]}
    found = dict.fromkeys(times, 0)
    which = DeviceFilter(query=parse(_QUERY))
    for _ in range(rounds):
        for what, some in times.items():
            began = time.perf_counter()
            with database.reading() as connection:
                if what in targets:
                    found[what] = len(resolve(connection, targets[what], now_ms=now_ms))
                else:
                    page = list_devices(connection, now_ms=now_ms, which=which, limit=100)
                    found[what] = page.total
            some.append(time.perf_counter() - began)
    for what, some in times.items():
        figure = statistics.median(some) * 1e3
        print(f"{name:<11} {what:<26}{found[what]:>8,} of {count:,} devices{figure:9.1f} ms")


def fill(database: Database, count: int, now_ms: int) -> None:
    rows = [
        {
            "id": number + 1, "device": f"device-{number:06}", "first_seen_ms": 1,
            "presence": "online", "last_seen_ms": now_ms - number % 200 * 1000,
            "heartbeat_interval_s": 60.0, "model_name": "minilm-l6-squad",
            "model_version": f"0.1.{number % 30}", "model_digest": f"sha256:{number % 30:064}",
            "exact_match": 50.0 + number % 40, "f1": 55.0 + number % 40,
            "groups": [f"site-{number % 10}"],
            "hardware": {"board": f"Raspberry Pi {4 + number % 2}", "machine": "aarch64",
                         "cpus": 4, "memory_bytes": (2 + number % 7) << 30},
        }
        for number in range(count)
    ]  # fmt: skip
    tags = [
        {"device_id": number + 1, "tag": f"tag-{number // 5 % 5}"} for number in range(0, count, 5)
    ]
    with database.writing() as connection:
        connection.execute(insert(devices), rows)
        connection.execute(insert(device_tags), tags)


if __name__ == "__main__":
    main()
