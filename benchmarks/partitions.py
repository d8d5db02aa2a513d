"""PostgreSQL's partitions of `records`: `python benchmarks/partitions.py`.

Tries on a real server, with the collector's own statements:

1. partitions by time of coming, which retention would like: what PostgreSQL and the collector's
   statement say to it;
2. partitions by hash of the boot, for which nothing of EdgeQA changes: an ordinary database after
   `edgeqa cloud migrate`, its `records` exchanged by hand. Storing, rolling up, deleting and the
   migration of a later start, each against the plain table, in turns.

    python benchmarks/partitions.py --devices 500 --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import structlog
from rollups import fill
from sqlalchemy import func, select, text

from edgeqa.postgres_process import PostgresServer
from edgeqa_cloud.database import Database
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.retention import KeepDays, Retention
from edgeqa_cloud.rollups import Rollups
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.tables import records

_HOUR_MS = 3_600_000
_RECORDS = 60  # of each device, an hour's

BY_TIME = "PARTITION BY RANGE (received_ms)"
COLUMNS = """boot bigint NOT NULL, seq bigint NOT NULL, kind varchar(16) NOT NULL,
    time_ms bigint NOT NULL, device_time_ms bigint NOT NULL, received_ms bigint NOT NULL,
    payload text NOT NULL"""

# What an administrator runs once, on a database that is migrated and at rest.
BY_HASH = """
ALTER TABLE records RENAME TO records_plain;
ALTER TABLE records_plain RENAME CONSTRAINT pk_records TO pk_records_plain;
ALTER INDEX ix_records_received_ms RENAME TO ix_records_plain_received_ms;
ALTER INDEX ix_records_boot_time_ms RENAME TO ix_records_plain_boot_time_ms;
CREATE TABLE records (LIKE records_plain, CONSTRAINT pk_records PRIMARY KEY (boot, seq))
    PARTITION BY HASH (boot);
DO $$ BEGIN FOR part IN 0..{last} LOOP EXECUTE format(
    'CREATE TABLE records_%s PARTITION OF records FOR VALUES WITH (MODULUS {parts}, REMAINDER %s)',
    part, part); END LOOP; END $$;
CREATE INDEX ix_records_received_ms ON records (received_ms);
CREATE INDEX ix_records_boot_time_ms ON records (boot, time_ms);
INSERT INTO records SELECT * FROM records_plain;
DROP TABLE records_plain;
"""


def main() -> None:
    """Try both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=500)
    parser.add_argument("--parts", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = PostgresServer(Path(folder) / "postgresql", durable=True)
        server.make()
        with server.running():
            with psycopg.connect(server.url, autocommit=True) as connection:
                print(connection.execute("SHOW server_version").fetchone()[0])  # type: ignore[index]
            try_by_time(server)
            compare(server, options.devices, options.parts, options.rounds)


@contextmanager
def migrated(server: PostgresServer, name: str) -> Iterator[Database]:
    """A new database with this version's tables, and gone behind the block."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        try:
            settings = DatabaseSettings(database=server.url_of(name))
            with Database.of(settings) as database:
                migrate(database)
                yield database
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def try_by_time(server: PostgresServer) -> None:
    """What is said to it."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        print("\nby time, primary key as it is (boot, seq):")
        try:
            connection.execute(
                f"CREATE TABLE by_time ({COLUMNS}, PRIMARY KEY (boot, seq)) {BY_TIME}".encode()
            )
        except psycopg.Error as error:
            print("  ", str(error).strip().replace("\n", "\n   "))
    with migrated(server, "by_time") as database:
        print("by time, primary key (boot, seq, received_ms), the collector stores:")
        with database.writing() as connection:
            connection.execute(text("DROP TABLE records"))
            connection.execute(
                text(
                    f"CREATE TABLE records ({COLUMNS}, PRIMARY KEY (boot, seq, received_ms)) "
                    f"{BY_TIME}"
                )
            )
            connection.execute(text("CREATE TABLE records_all PARTITION OF records DEFAULT"))
        try:
            fill(database, 2, 1, 0)
        except Exception as error:  # noqa: BLE001  whatever it is, it is the finding
            print("  ", str(getattr(error, "orig", error)).strip().partition("\n")[0])


def compare(server: PostgresServer, devices: int, parts: int, rounds: int) -> None:
    """Plain and by hash, in turns."""
    figures: dict[str, list[dict[str, float]]] = {"plain": [], "by hash": []}
    for number in range(rounds):
        for kind, found in figures.items():
            with migrated(server, f"run_{number}_{kind.replace(' ', '_')}") as database:
                if kind == "by hash":
                    partition(database, parts)
                found.append(measure(database, devices))
    count = devices * _RECORDS
    print(f"\n{count:,} records of {devices} devices, {parts} partitions, median of {rounds}")
    for what in figures["plain"][0]:
        line = "  ".join(
            f"{kind} {statistics.median(one[what] for one in found):,.2f}"
            for kind, found in figures.items()
        )
        print(f"{what:45} {line}")


def partition(database: Database, parts: int) -> None:
    """As an administrator would; the next start has nothing to migrate."""
    url = database.engine.url.set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
        connection.execute(BY_HASH.format(parts=parts, last=parts - 1).encode())
    done = migrate(database)
    assert done.before == done.after


def measure(database: Database, devices: int) -> dict[str, float]:
    """Of one database."""
    hour_ms = round(time.time() * 1000) // _HOUR_MS * _HOUR_MS - 2 * _HOUR_MS
    count = devices * _RECORDS
    began = time.monotonic()
    fill(database, devices, _RECORDS, hour_ms)
    stored_s = time.monotonic() - began
    fill(database, devices, _RECORDS, hour_ms)  # each comes again: none is stored twice
    with database.reading() as connection:
        rows = connection.execute(select(func.count()).select_from(records)).scalar_one()
        size = (
            connection.execute(
                text("SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('records')")
            ).scalar_one()
            or connection.execute(text("SELECT pg_total_relation_size('records')")).scalar_one()
        )
    assert rows == count, rows
    rollups = Rollups(database=database, log=structlog.get_logger())
    began, hours = time.monotonic(), 0
    while done := rollups.roll_up(now_ms=hour_ms + 3 * _HOUR_MS):
        hours += done
    rolled_s = time.monotonic() - began
    assert hours == devices
    retention = Retention(database=database, keep=KeepDays(raw=0, hours=90, days=1000))
    began = time.monotonic()
    deleted = sum(retention.delete(now_ms=hour_ms + 3 * _HOUR_MS))
    deleted_s = time.monotonic() - began
    assert deleted >= count
    return {
        "stored, records/s, one thread": count / stored_s,
        "bytes of a record, indexes included": float(size) / count,
        "an hour of a device rolled up, ms": 1000 * rolled_s / hours,
        "deleted by retention, records/s": deleted / deleted_s,
    }


if __name__ == "__main__":
    main()
