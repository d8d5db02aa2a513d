"""The API over a real database and a real port, and programs and browsers that ask it."""

from __future__ import annotations

import contextlib
import functools
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import structlog
from fastapi import FastAPI

from edgeqa_cloud.access import account_rows
from edgeqa_cloud.access.roles import Kind, Role
from edgeqa_cloud.access.secrets_at_rest import kept, new_token
from edgeqa_cloud.api.app import build_app
from edgeqa_cloud.api.changes import Changes
from edgeqa_cloud.api.parts import Console
from edgeqa_cloud.api.server import ApiServer
from edgeqa_cloud.database import Database
from support.consoles import FakeAsker, make_console
from support.fleet import Fleet

NOW_MS = 1_799_964_600_000


@dataclass
class Clock:
    """Goes as a test says."""

    now_ms: int = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@dataclass
class ApiWorld:
    """A served console.

    Attributes:
        url: of the server.
        api: below which the API is.
    """

    console: Console
    url: str
    clock: Clock
    asker: FakeAsker
    fleet: Fleet
    app: FastAPI
    _tokens: dict[str, str] = field(default_factory=dict)

    @property
    def api(self) -> str:
        return f"{self.url}/api/v1"

    @property
    def database(self) -> Database:
        return self.console.database

    def token(self, name: str, role: Role, *, expires_ms: int | None = None) -> str:
        """A new token."""
        token = new_token()
        with self.database.writing() as connection:
            account_rows.create(
                connection, Kind.TOKEN, name, role=role, secret=kept(token), actor="test",
                now_ms=self.clock(), expires_ms=expires_ms,
            )  # fmt: skip
        return token

    @contextmanager
    def program(self, role: Role | None = Role.VIEWER) -> Iterator[httpx.Client]:
        """A client of the API, its paths below /api/v1; without a role it has no token."""
        headers = {}
        if role is not None:
            if role.value not in self._tokens:
                self._tokens[role.value] = self.token(f"a-{role}", role)
            headers["Authorization"] = f"Bearer {self._tokens[role.value]}"
        with httpx.Client(
            base_url=self.api, headers=headers, timeout=30.0, verify=trusted()
        ) as client:
            yield client

    def get(self, path: str, role: Role | None = Role.VIEWER, **options: Any) -> httpx.Response:
        with self.program(role) as client:
            return client.get(path, **options)


@functools.cache
def trusted() -> ssl.SSLContext:
    """Made once: each takes some tens of milliseconds, and nothing here speaks TLS."""
    return ssl.create_default_context()


@contextmanager
def api_world(
    database: Database,
    *,
    before: Callable[[FastAPI], object] = lambda _: None,
    every_s: float = 0.05,
    **settings: Any,
) -> Iterator[ApiWorld]:
    """A console that is served inside the block.

    Args:
        before: changes the application before it is served.
        every_s: how often changes are looked for.
    """
    clock, asker, log = Clock(), FakeAsker(), structlog.get_logger()
    changes = Changes(database=database, now_ms=clock, log=log, every_s=every_s)
    console = make_console(database, now_ms=clock, asker=asker, changes=changes, **settings)
    app = build_app(console)
    before(app)
    server = ApiServer(
        app=app, host="127.0.0.1", port=0, log=log, proxied=True, before_stop=changes.stop
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(server)
        changes.start()
        stack.callback(changes.stop)
        yield ApiWorld(console, server.url, clock, asker, Fleet(database, NOW_MS), app)
