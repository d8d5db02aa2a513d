"""Programs that ask the API, each with a token of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from edgeqa_cloud.access import account_rows
from edgeqa_cloud.access.roles import Kind, Role
from edgeqa_cloud.access.secrets_at_rest import kept
from edgeqa_cloud.api.app import build_app
from edgeqa_cloud.api.parts import Console
from support.browser import serving


@contextmanager
def programs(console: Console, *roles: Role) -> Iterator[list[httpx.Client]]:
    """The API inside the block, and a program for each role; their paths begin below /api/v1."""
    with serving(build_app(console)) as url:
        clients = [_program(console, role, url) for role in roles]
        try:
            yield clients
        finally:
            for one in clients:
                one.close()


def _program(console: Console, role: Role, url: str) -> httpx.Client:
    token = f"edgeqa_{role.value:x<40}"
    with console.database.writing() as connection:
        account_rows.create(
            connection, Kind.TOKEN, f"a-{role}", role=role, secret=kept(token), actor="test",
            now_ms=console.now_ms(),
        )  # fmt: skip
    return httpx.Client(
        base_url=f"{url}/api/v1/", headers={"Authorization": f"Bearer {token}"}, timeout=30.0
    )
