"""Tags at the API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, select
from support.api_tokens import programs
from support.consoles import make_console
from support.fleet import Fleet
from support.fleet_databases import Databases

from edgeqa_cloud.access.roles import Role
from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout.tables import audit, device_tags

NOW_MS = 1_800_000_000_000


@dataclass(frozen=True)
class World:
    database: Database
    viewer: httpx.Client
    operator: httpx.Client


@pytest.fixture(scope="module", params=["sqlite_databases", "postgres_databases"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    databases: Databases = request.getfixturevalue(request.param)
    with databases.open(databases.new()) as database:
        fleet = Fleet(database, NOW_MS)
        for name in ("a", "b", "c"):
            fleet.device(name)
        console = make_console(database, now_ms=lambda: NOW_MS)
        with programs(console, Role.VIEWER, Role.OPERATOR) as (viewer, operator):
            yield World(database, viewer, operator)


@pytest.fixture
def operator(world: World) -> httpx.Client:
    """No device has a tag."""
    with world.database.writing() as connection:
        connection.execute(delete(device_tags))
        connection.execute(delete(audit))
    return world.operator


def refused(response: Any) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


def test_tags_of_one_device(operator: httpx.Client, world: World) -> None:
    empty = operator.get("devices/a/tags")
    assert (empty.status_code, empty.json()["tags"]) == (200, [])
    given = operator.put("devices/a/tags", json={"tags": ["x", "lab", "x"]})
    assert (given.status_code, given.json()["tags"]) == (200, ["lab", "x"])
    etag = given.headers["ETag"]
    assert etag != empty.headers["ETag"]
    assert operator.get("devices/a/tags").headers["ETag"] == etag
    old = operator.put(
        "devices/a/tags", json={"tags": ["y"]}, headers={"If-Match": empty.headers["ETag"]}
    )
    assert refused(old) == (412, "changed_meanwhile")
    for matching in (etag, "*"):
        done = operator.put("devices/a/tags", json={"tags": ["y"]}, headers={"If-Match": matching})
        assert (done.status_code, done.json()["tags"]) == (200, ["y"])
    with world.database.reading() as connection:
        query = select(audit.c.actor, audit.c.time_ms).where(audit.c.action == "tags_changed")
        entries = connection.execute(query).all()
    assert [tuple(one) for one in entries] == [("token:a-operator", NOW_MS)] * 2


def test_many_devices(operator: httpx.Client) -> None:
    body = {"target": {"query": "device!=c"}, "add": ["x", "y"]}
    assert operator.post("tags", json=body).json() == {"devices": 2, "changed": 2}
    page = operator.get("tags", params={"limit": 1})
    assert page.json() == {"total": 2, "tags": [{"tag": "x", "devices": 2}]}
    assert 'rel="next"' in page.headers["Link"]


BAD: list[tuple[str, str, Any, tuple[int, str]]] = [
    ("GET", "devices/nobody/tags", None, (404, "unknown_device")),
    ("PUT", "devices/nobody/tags", {"tags": []}, (404, "unknown_device")),
    ("PUT", "devices/a%00b/tags", {"tags": []}, (422, "invalid_request")),
    ("PUT", "devices/a/tags", {"tags": ["a b"]}, (422, "invalid_request")),
    ("PUT", "devices/a/tags", {"tags": ["x"] * 65}, (422, "invalid_request")),
    ("PUT", "devices/a/tags", {"tags": ["x"], "tag": 1}, (422, "invalid_request")),
    ("PUT", "devices/a/tags", {}, (422, "invalid_request")),
    ("POST", "tags", {"target": {}, "add": ["x"]}, (422, "invalid_request")),
    ("POST", "tags", {"target": {"all": True}}, (422, "bad_tags")),
    ("POST", "tags", {"target": {"all": True}, "add": ["x"], "remove": ["x"]}, (422, "bad_tags")),
    ("POST", "tags", {"target": {"query": "em<"}, "add": ["x"]}, (422, "bad_query")),
    ("POST", "tags", {"target": {"devices": ["a", "z"]}, "add": ["x"]}, (422, "unknown_devices")),
    ("GET", "tags?limit=0", None, (422, "invalid_request")),
]


def test_bad_requests_change_nothing(operator: httpx.Client) -> None:
    for method, path, body, expected in BAD:
        assert refused(operator.request(method, path, json=body)) == expected, (path, body)
    assert operator.get("tags").json() == {"total": 0, "tags": []}


def test_who_only_looks_changes_nothing(operator: httpx.Client, world: World) -> None:
    viewer = world.viewer
    body = {"target": {"all": True}, "add": ["x"]}
    assert refused(viewer.post("tags", json=body)) == (403, "forbidden")
    assert refused(viewer.put("devices/a/tags", json={"tags": []})) == (403, "forbidden")
    assert operator.get("tags").json() == viewer.get("tags").json() == {"total": 0, "tags": []}
    nobody = {"Authorization": "Bearer edgeqa_nobody"}
    for path in ("tags", "devices/a/tags"):
        assert refused(viewer.get(path, headers=nobody)) == (401, "unauthorized")
