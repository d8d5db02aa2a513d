"""Packages at the API."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.api_tokens import programs
from support.catalogue import Cloud
from support.consoles import make_console
from support.fleet_databases import Databases
from support.repository import Repository, make_package, make_repository

from edgeqa_cloud.access.roles import Role


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_repository(tmp_path, make_package(tmp_path))


@pytest.fixture
def cloud(sqlite_databases: Databases, repository: Repository, tmp_path: Path) -> Iterator[Cloud]:
    with sqlite_databases.open(sqlite_databases.new()) as database:
        yield Cloud(
            database, repository.path.as_uri(), repository.root, tmp_path / "seen",
            round(time.time() * 1000),
        )  # fmt: skip


@pytest.fixture
def both(cloud: Cloud) -> Iterator[list[httpx.Client]]:
    """A viewer and an operator."""
    bare = make_console(cloud.database, now_ms=lambda: cloud.now_ms)
    console = dataclasses.replace(bare, catalogue=cloud.job)
    with programs(console, Role.VIEWER, Role.OPERATOR) as clients:
        yield clients


def refused(response: Any) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


def test_packages_are_read_listed_and_shown(
    both: list[httpx.Client], cloud: Cloud, repository: Repository, tmp_path: Path
) -> None:
    viewer, operator = both
    before = viewer.get("packages").json()
    assert (before["repository"], before["total"], before["packages"]) == (None, 0, [])
    assert refused(viewer.get("packages/tiny/1.0.0")) == (404, "unknown_package")
    assert refused(viewer.post("packages/refresh")) == (403, "forbidden")
    with cloud.job:
        view = operator.post("packages/refresh").json()
        assert [one["version"] for one in view["packages"]] == ["1.0.0"]
        repository.publish(make_package(tmp_path, "tiny", "1.1.0"))
        assert repository.run("remove", "tiny", "1.0.0").exit_code == 0
        assert repository.run("sign", "--yes").exit_code == 0
        assert operator.post("packages/refresh").json()["total"] == 2
        repository.path.rename(repository.path.with_name("away"))
        assert operator.post("packages/refresh").json()["code"] == "repository_unreachable"
    page = viewer.get("packages", params={"limit": 1, "name": "tiny"})
    assert [one["version"] for one in page.json()["packages"]] == ["1.1.0"]
    assert 'rel="next"' in page.headers["Link"]
    gone = viewer.get("packages", params={"offered": False}).json()["packages"]
    assert gone == [viewer.get("packages/tiny/1.0.0").json()]
    assert gone[0]["gone_ms"] == cloud.now_ms
    assert viewer.get("packages", params={"name": "a\0"}).json()["total"] == 0
    for path in ("packages/a%00/1.0.0", "packages/tiny/%27%3B--"):
        assert refused(viewer.get(path)) == (404, "unknown_package")
    for query in ("limit=0", "offset=-1", "offered=x", f"name={'x' * 65}"):
        assert refused(viewer.get(f"packages?{query}")) == (422, "invalid_request")


def test_a_process_that_reads_no_repository(cloud: Cloud) -> None:
    bare = make_console(cloud.database, now_ms=lambda: cloud.now_ms)
    with programs(bare, Role.OPERATOR) as (operator,):
        assert refused(operator.post("packages/refresh")) == (409, "repository_unread")
