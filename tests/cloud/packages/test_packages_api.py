"""Packages at the API."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.api_tokens import programs as programs_of
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
def programs(cloud: Cloud) -> Iterator[dict[Role, httpx.Client]]:
    bare = make_console(cloud.database, now_ms=lambda: cloud.now_ms)
    console = dataclasses.replace(bare, catalogue=cloud.job)
    with (
        programs_of(console, Role.VIEWER, Role.OPERATOR) as (viewer, operator),
        # Of a process that reads no repository.
        programs_of(bare, Role.ADMIN) as (admin,),
    ):
        yield {Role.VIEWER: viewer, Role.OPERATOR: operator, Role.ADMIN: admin}


def refused(response: Any) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


def test_packages_are_read_listed_and_shown(
    programs: dict[Role, httpx.Client], cloud: Cloud, repository: Repository, tmp_path: Path
) -> None:
    viewer, operator = programs[Role.VIEWER], programs[Role.OPERATOR]
    before = viewer.get("packages").json()
    assert (before["repository"], before["total"], before["packages"]) == (None, 0, [])
    assert refused(viewer.get("packages/tiny/1.0.0")) == (404, "unknown_package")
    with cloud.job:
        view = operator.post("packages/refresh").json()
        assert [one["version"] for one in view["packages"]] == ["1.0.0"]
        repository.publish(make_package(tmp_path, "tiny", "1.1.0"))
        assert repository.run("remove", "tiny", "1.0.0").exit_code == 0
        assert repository.run("sign", "--yes").exit_code == 0
        assert operator.post("packages/refresh").json()["total"] == 2
    page = viewer.get("packages", params={"limit": 1, "name": "tiny"})
    assert [one["version"] for one in page.json()["packages"]] == ["1.1.0"]
    assert 'rel="next"' in page.headers["Link"]
    gone = viewer.get("packages", params={"offered": False}).json()["packages"]
    assert gone == [viewer.get("packages/tiny/1.0.0").json()]
    assert gone[0]["gone_ms"] == cloud.now_ms
    assert viewer.get("packages", params={"name": "a\0"}).json()["total"] == 0


def test_a_repository_that_is_away_is_told(
    programs: dict[Role, httpx.Client], cloud: Cloud, repository: Repository
) -> None:
    repository.path.rename(repository.path.with_name("away"))
    with cloud.job:
        view = programs[Role.OPERATOR].post("packages/refresh").json()
    assert (view["code"], view["read_ms"]) == ("repository_unreachable", None)


def test_who_may_not_and_what_is_not_there(programs: dict[Role, httpx.Client]) -> None:
    assert refused(programs[Role.VIEWER].post("packages/refresh")) == (403, "forbidden")
    assert refused(programs[Role.ADMIN].post("packages/refresh")) == (409, "repository_unread")
    for path in ("packages/a%00/1.0.0", "packages/tiny/%27%3B--"):
        assert refused(programs[Role.VIEWER].get(path)) == (404, "unknown_package")
    for query in ("limit=0", "offset=-1", "offered=x", f"name={'x' * 65}"):
        assert programs[Role.VIEWER].get(f"packages?{query}").status_code == 422
