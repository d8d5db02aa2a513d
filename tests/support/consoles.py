"""A console over a real database, with accounts that tests log in as."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import structlog

from edgeqa.errors import EdgeqaError
from edgeqa.messages import Answer
from edgeqa_cloud.access import account_rows
from edgeqa_cloud.access.accounts import Accounts
from edgeqa_cloud.access.roles import Kind, Role
from edgeqa_cloud.access.secrets_at_rest import hash_password
from edgeqa_cloud.api.parts import Console
from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout.service import Rollouts
from edgeqa_cloud.settings import CloudSettings

PASSWORD = "correct horse battery staple"
USERS: Mapping[str, Role] = {"vera": Role.VIEWER, "otto": Role.OPERATOR, "ada": Role.ADMIN}


@dataclass
class FakeAsker:
    """Answers questions as a test says, in place of devices behind a broker.

    Attributes:
        answer: from device, question and context.
        asked: what was asked.
    """

    answer: Callable[[str, str, str], Answer | EdgeqaError] | None = None
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def ask(self, device: str, question: str, context: str, **_: Any) -> Answer:
        self.asked.append((device, question, context))
        assert self.answer is not None, "no question was expected"
        made = self.answer(device, question, context)
        if isinstance(made, EdgeqaError):
            raise made
        return made


def make_console(
    database: Database,
    *,
    now_ms: Callable[[], int],
    asker: Any = None,
    changes: Any = None,
    rollouts: Rollouts | None = None,
    **settings: Any,
) -> Console:
    """A console, and its users.

    Args:
        database: migrated; users are made in it.
        now_ms: the clock.
        asker: `FakeAsker` unless said.
        changes: live events; without, there are none.
        rollouts: as an engine obeys; without, orders wait.
        **settings: of `CloudSettings`.
    """
    secret = _hashed()
    with database.writing() as connection:
        for name, role in USERS.items():
            account_rows.create(
                connection, Kind.USER, name, role=role, secret=secret, actor="test",
                now_ms=now_ms(),
            )  # fmt: skip
    return Console(
        database=database,
        settings=CloudSettings(**settings),
        rollouts=rollouts or Rollouts(database=database, now_ms=now_ms),
        accounts=Accounts(database=database, now_ms=now_ms),
        changes=changes,
        asker=asker or FakeAsker(),
        catalogue=None,
        now_ms=now_ms,
        log=structlog.get_logger(),
    )


@functools.cache
def _hashed() -> str:
    """Of all users: it takes some tenths of a second of a processor."""
    return hash_password(PASSWORD)


@contextmanager
def browsing(url: str, name: str | None = None) -> Iterator[httpx.Client]:
    """A browser without a screen; it follows no redirects.

    Args:
        url: of the console.
        name: who has logged in; nobody unless said.
    """
    with httpx.Client(base_url=url, headers={"Origin": url}, timeout=20.0) as client:
        if name is not None:
            response = client.post("/login", data={"name": name, "password": PASSWORD})
            assert response.status_code == 303, response.text
        yield client
