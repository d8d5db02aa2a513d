"""One PostgreSQL for all tests of the cloud side, and databases in it and in SQLite files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cloud import Store
from support.fleet_databases import Databases, postgres_server

from edgeqa.postgres_process import PostgresServer


@pytest.fixture(scope="session")
def world_folder() -> Iterator[Path]:
    """A folder that another account can be let into; pytest's own are closed to all others."""
    with tempfile.TemporaryDirectory(prefix="edgeqa-test-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def sqlite_databases(tmp_path_factory: pytest.TempPathFactory) -> Databases:
    return Databases(tmp_path_factory.mktemp("sqlite"), None)


@pytest.fixture(scope="session")
def postgres_databases(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Databases:
    return Databases(tmp_path_factory.mktemp("unused"), postgres)


@pytest.fixture(params=["sqlite", "postgresql"])
def cloud_databases(request: pytest.FixtureRequest) -> Databases:
    name = "sqlite_databases" if request.param == "sqlite" else "postgres_databases"
    made: Databases = request.getfixturevalue(name)
    return made


@pytest.fixture
def store(cloud_databases: Databases) -> Iterator[Store]:
    """An empty, migrated database with a writer's storage."""
    with cloud_databases.open(cloud_databases.new()) as database:
        yield Store(database)
