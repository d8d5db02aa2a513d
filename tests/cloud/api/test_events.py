"""Server-sent events: what changes, by whichever process, to whoever reads, however slow."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from sqlalchemy import update
from support.api_world import ApiWorld
from support.consoles import PASSWORD

from edgeqa_cloud.access import account_rows
from edgeqa_cloud.access.roles import Role
from edgeqa_cloud.api import events as events_module
from edgeqa_cloud.api.live import KINDS, MAX_WAITING
from edgeqa_cloud.tables import devices

_TAG = """
import sys
from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout.spec import Target
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.targets.tags import change_tags
with Database.of(DatabaseSettings(database=sys.argv[1])) as database:
    with database.writing() as connection:
        change_tags(connection, Target(devices=["pi5"]), add=["x"], actor="other", now_ms=1)
"""


@contextmanager
def stream(
    world: ApiWorld, **headers: str
) -> Iterator[Iterator[tuple[str, dict[str, object], str]]]:
    """Kinds, data and ids of events, as they come."""
    with (
        world.program() as client,
        client.stream("GET", "/events", headers=headers, timeout=30.0) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()
        assert next(lines).startswith("retry:")
        yield _events(lines)


def _events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, object], str]]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "event" in fields:
            yield fields["event"], json.loads(fields["data"]), fields["id"]
            fields = {}


def until(events: Iterator[tuple[str, dict[str, object], str]], kind: str) -> dict[str, object]:
    return next(data for one, data, _ in events if one == kind)


def looked(world: ApiWorld) -> None:
    """The first look is over: what comes now is a change."""
    deadline = time.monotonic() + 30
    while not world.console.changes._looking.begun:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_another_process_changes_is_told(world: ApiWorld) -> None:
    world.fleet.device("pi5")
    looked(world)
    with stream(world) as events:
        url = world.database.engine.url.render_as_string(hide_password=False)
        subprocess.run([sys.executable, "-c", _TAG, url.replace("+psycopg", "")], check=True)
        assert "entry" in until(events, "audit")
    with stream(world) as events:
        with world.database.writing() as connection:
            connection.execute(update(devices).values(last_seen_ms=world.clock()))
        assert until(events, "device") == {"device": "pi5"}
        assert until(events, "fleet") == {}


def test_who_comes_back_misses_nothing(small_world: ApiWorld) -> None:
    looked(small_world)
    small_world.fleet.device("pi5")
    with stream(small_world, **{"Last-Event-ID": "other-7"}) as events:
        assert {next(events)[:1] for _ in KINDS} == {(kind,) for kind in KINDS}
    with stream(small_world) as events:
        small_world.fleet.device("pi6")
        seen = next(events)
    small_world.fleet.device("pi7")
    with stream(small_world, **{"Last-Event-ID": seen[2]}) as events:
        assert any(data == {"device": "pi7"} for _, data, _ in (next(events) for _ in range(4)))


def test_a_slow_reader_hurts_nobody(small_world: ApiWorld) -> None:
    looked(small_world)
    token = small_world.token("slow", Role.VIEWER)
    host, port = small_world.url.removeprefix("http://").split(":")
    changes = small_world.console.changes
    with socket.create_connection((host, int(port))) as slow, stream(small_world) as events:
        slow.sendall(
            f"GET /api/v1/events HTTP/1.1\r\nHost: {host}\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        deadline = time.monotonic() + 30
        while len(changes._listeners) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        small_world.fleet.many(200)
        assert until(events, "device") == {"devices": 200}
        for one in changes._listeners:
            assert len(one._waiting) <= MAX_WAITING


def test_a_stream_ends_with_its_login(small_world: ApiWorld) -> None:
    looked(small_world)
    before = events_module.HEARTBEAT_S
    events_module.HEARTBEAT_S = 0.1
    try:
        with httpx.Client(base_url=small_world.api, timeout=30.0) as client:
            client.post("/session", json={"name": "vera", "password": PASSWORD})
            with client.stream("GET", "/events") as response:
                lines = response.iter_lines()
                next(lines)
                with small_world.database.writing() as connection:
                    account_rows.remove_user(connection, "vera", actor="test", now_ms=1)
                for _ in lines:
                    pass  # it ends
            assert client.get("/events").status_code == 401
    finally:
        events_module.HEARTBEAT_S = before


def test_streams_end_when_the_server_does(small_world: ApiWorld) -> None:
    ended = threading.Event()
    with stream(small_world) as events:

        def read() -> None:
            for _ in events:
                pass
            ended.set()

        reader = threading.Thread(target=read)
        reader.start()
        small_world.console.changes.stop()
        assert ended.wait(10)
        reader.join()
