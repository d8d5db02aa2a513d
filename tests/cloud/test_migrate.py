"""Migrations: every schema that was ever released comes up to this version's, with its rows."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, inspect, select, text
from support.cloud import Store, arrival, telemetry

from edgeqa.errors import ConfigError
from edgeqa.postgres_process import PostgresServer
from edgeqa_cloud import migrate as migrations
from edgeqa_cloud.database import Database
from edgeqa_cloud.migrate import check_migrated, migrate
from edgeqa_cloud.schema import metadata
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.tables import records

SNAPSHOTS = sorted((Path(__file__).parent / "schemas").glob("*.sql"))
FOLDER = Path(migrations.__file__).parent / "migrations"


@contextmanager
def opened(url: str) -> Iterator[Database]:
    with Database.of(DatabaseSettings(database=url)) as database:
        yield database


def new_postgres(server: PostgresServer, name: str) -> str:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.url_of(name)


def load(snapshot: Path, folder: Path, request: pytest.FixtureRequest) -> str:
    """A database as that revision left it."""
    script = snapshot.read_text(encoding="utf-8")
    if ".sqlite." in snapshot.name:
        path = folder / "old.db"
        with sqlite3.connect(path) as connection:
            connection.executescript(script)
        connection.close()
        return f"sqlite:///{path}"
    url = new_postgres(request.getfixturevalue("postgres"), "old_schema")
    with psycopg.connect(url) as connected:
        connected.execute(script.encode())
    return url


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=lambda path: path.stem)
def test_every_past_schema_upgrades_with_its_rows(
    snapshot: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with opened(load(snapshot, tmp_path, request)) as database:
        was_there = set(inspect(database.engine).get_table_names())
        before = migrate(database).before
        assert before == snapshot.name.partition(".")[0]
        with database.reading() as connection:
            assert differences(connection) == []
            since_then = {one for one in metadata.sorted_tables if one.name not in was_there}
            for table in set(metadata.sorted_tables) - since_then:
                rows = connection.execute(select(func.count()).select_from(table)).scalar_one()
                assert rows > 0, table.name
        stored = Store(database).store(
            arrival("telemetry", telemetry()), arrival("telemetry", telemetry(seq=1000))
        )
        assert stored.counts["telemetry"] == stored.duplicates["telemetry"] == 1


def test_there_is_a_snapshot_of_every_revision() -> None:
    scripts = ScriptDirectory(str(FOLDER))
    revisions = {script.revision for script in scripts.walk_revisions()}
    for kind in ("sqlite", "postgresql"):
        assert {p.name.partition(".")[0] for p in SNAPSHOTS if f".{kind}." in p.name} == revisions


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_that_begin_at_once_do_not_collide(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = (
        f"sqlite:///{tmp_path / 'new.db'}"
        if kind == "sqlite"
        else new_postgres(request.getfixturevalue("postgres"), "at_once")
    )
    began = threading.Barrier(4)
    outcomes: list[object] = []

    def begin() -> None:
        with opened(url) as database:
            database.check()
            began.wait()
            try:
                outcomes.append(migrate(database).before)
            except Exception as error:  # noqa: BLE001  the thread's edge
                outcomes.append(error)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    head = ScriptDirectory(str(FOLDER)).get_current_head()
    assert sorted(map(str, outcomes)) == [head] * 3 + ["None"]
    with opened(url) as database:
        assert set(inspect(database.engine).get_table_names()) >= set(metadata.tables)


def test_a_database_of_a_later_version_is_refused(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path / 'later.db'}") as database:
        with pytest.raises(ConfigError, match="edgeqa cloud migrate"):
            check_migrated(database)
        migrate(database)
        check_migrated(database)
        with database.writing() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        for act in (migrate, check_migrated):
            with pytest.raises(ConfigError) as error:
                act(database)
            assert error.value.code == "database_newer"
        with database.reading() as connection:
            assert connection.execute(select(func.count()).select_from(records)).scalar_one() == 0
