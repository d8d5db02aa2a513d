"""A call that is sent again is answered as the first was, and done once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import pytest
from fastapi import FastAPI, Response
from fastapi.routing import APIRoute
from sqlalchemy import func, select
from support.api_world import ApiWorld, api_world
from support.fleet_databases import Databases

from edgeqa_cloud.access.roles import Role
from edgeqa_cloud.access.tables import idempotency
from edgeqa_cloud.api.idempotency import KEEP_MS, MAX_KEYS, UNDER_WAY_MS, Call, Idempotency
from edgeqa_cloud.api.problems import Problem


@dataclass
class Slow:
    """An endpoint that takes as long as a test says, and counts."""

    done: int = 0
    status: int = 201
    begun: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> Response:
        self.done += 1
        self.begun.set()
        assert self.go.wait(30)
        return Response(f"done {self.done}", status_code=self.status, headers={"ETag": '"7"'})

    def add(self, app: FastAPI) -> None:
        app.router.routes.insert(0, APIRoute("/api/v1/slow", self, methods=["POST"]))


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def slow_world(cloud_databases: Databases, slow: Slow) -> Iterator[ApiWorld]:
    with (
        cloud_databases.open(cloud_databases.new()) as database,
        api_world(database, before=slow.add) as made,
    ):
        yield made


def call(client: httpx.Client, key: str, path: str = "/slow") -> httpx.Response:
    return client.post(path, headers={"Idempotency-Key": key})


def test_two_at_once_are_one(slow_world: ApiWorld, slow: Slow) -> None:
    with slow_world.program(Role.OPERATOR) as client, ThreadPoolExecutor(1) as other:
        first = other.submit(call, client, "k")
        assert slow.begun.wait(30)
        second = call(client, "k")
        assert (second.status_code, second.json()["code"]) == (409, "under_way")
        assert second.headers["retry-after"] == "1"
        slow.go.set()
        assert (first.result().status_code, first.result().text) == (201, "done 1")
        third = call(client, "k")
    assert (third.status_code, third.text, third.headers["etag"]) == (201, "done 1", '"7"')
    assert third.headers["idempotent-replayed"] == "true"
    assert slow.done == 1


def test_a_key_is_for_one_call_of_one_account(slow_world: ApiWorld, slow: Slow) -> None:
    slow.go.set()
    with slow_world.program(Role.OPERATOR) as client, slow_world.program(Role.ADMIN) as other:
        call(client, "k")
        reused = call(client, "k", "/slow?other=1")
        assert (reused.status_code, reused.json()["code"]) == (422, "key_reused")
        assert call(other, "k").text == "done 2"
        bad = call(client, "x" * 200)
        assert (bad.status_code, bad.json()["code"]) == (422, "bad_key")


def test_what_was_not_done_may_be_done_later(slow_world: ApiWorld, slow: Slow) -> None:
    slow.go.set()
    slow.status = 503
    with slow_world.program(Role.OPERATOR) as client, slow_world.program(None) as nobody:
        assert call(client, "k").status_code == 503
        slow.status = 201
        assert call(client, "k").text == "done 2"
        assert call(client, "k").text == "done 2"
        assert nobody.post("/tags", headers={"Idempotency-Key": "k"}).status_code == 401


def test_tags_are_given_once(slow_world: ApiWorld) -> None:
    slow_world.fleet.device("pi5")
    body = {"target": {"devices": ["pi5"]}, "add": ["hall"]}
    with slow_world.program(Role.OPERATOR) as client:
        answers = [
            client.post("/tags", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)
        ]
    assert [one.json()["changed"] for one in answers] == [1, 1]


def test_keys_are_forgotten_and_bounded(cloud_databases: Databases) -> None:
    now = [0]
    with cloud_databases.open(cloud_databases.new()) as database:
        keys = Idempotency(database=database, now_ms=lambda: now[0])

        def begin(key: str) -> object:
            return keys.begin(Call("user:anna", key, "r"))

        assert begin("0") is None
        now[0] = UNDER_WAY_MS
        with pytest.raises(Problem) as ended:
            begin("0")
        assert ended.value.code == "outcome_unknown"
        for number in range(1, MAX_KEYS + 1):
            begin(str(number))
        with database.reading() as connection:
            kept = connection.execute(select(func.count()).select_from(idempotency)).scalar_one()
        assert kept == MAX_KEYS
        assert begin("0") is None  # the oldest, forgotten
        now[0] += KEEP_MS + 1
        assert begin(str(MAX_KEYS)) is None
        keys.tidy()
        with database.reading() as connection:
            assert connection.execute(select(idempotency.c.key)).scalars().all() == [str(MAX_KEYS)]
