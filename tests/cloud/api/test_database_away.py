"""A database that goes away while the API is used: said so, nothing half done, and well again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psycopg
import pytest
from support.api_world import ApiWorld, api_world
from support.fleet_databases import Databases

from edgeqa.postgres_process import PostgresServer
from edgeqa_cloud.access.roles import Role


@contextmanager
def away(server: PostgresServer, name: str) -> Iterator[None]:
    """The server lets nobody into the database."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        allow = "ALTER DATABASE {} ALLOW_CONNECTIONS {}"
        connection.execute(allow.format(name, "false").encode())
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        yield
        connection.execute(allow.format(name, "true").encode())


@pytest.fixture
def postgres_world(
    postgres_databases: Databases, postgres: PostgresServer
) -> Iterator[tuple[ApiWorld, str]]:
    url = postgres_databases.new()
    with postgres_databases.open(url) as database, api_world(database) as world:
        yield world, url.rpartition("/")[2]


def said(response: httpx.Response) -> None:
    assert response.status_code == 503, response.text
    assert response.json()["code"] == "database_unreachable"
    assert "log of `edgeqa cloud run`" in response.json()["detail"]
    assert int(response.headers["retry-after"]) > 0


def test_it_is_said_and_over_when_it_is_back(
    postgres_world: tuple[ApiWorld, str], postgres: PostgresServer
) -> None:
    world, name = postgres_world
    world.fleet.device("pi5")
    body = {"target": {"devices": ["pi5"]}, "add": ["hall"]}
    key = {"Idempotency-Key": "k"}
    with world.program(Role.OPERATOR) as client:
        assert client.get("/healthz").status_code == 200
        with away(postgres, name):
            for path in ("/healthz", "/devices", "/fleet", "/rollouts", "/events", "/session"):
                said(client.get(path))
            said(client.post("/tags", json=body, headers=key))
            said(client.post("/tags", json=body))
        done = client.post("/tags", json=body, headers=key)
        assert (done.status_code, done.json()["changed"]) == (200, 1)
        assert client.get("/devices/pi5").json()["tags"] == ["hall"]
