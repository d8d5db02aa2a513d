"""The API, served over both databases, or over SQLite where SQL is not what is tested."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.api_world import ApiWorld, api_world
from support.fleet_databases import Databases


@pytest.fixture
def world(cloud_databases: Databases) -> Iterator[ApiWorld]:
    """Over an empty database of each kind."""
    with (
        cloud_databases.open(cloud_databases.new()) as database,
        api_world(database) as made,
    ):
        yield made


@pytest.fixture
def small_world(sqlite_databases: Databases) -> Iterator[ApiWorld]:
    """Over SQLite alone."""
    with (
        sqlite_databases.open(sqlite_databases.new()) as database,
        api_world(database) as made,
    ):
        yield made
