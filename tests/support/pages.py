"""Pages that are served to tests, and read without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser

import httpx

from edgeqa_cloud.api.app import build_app
from edgeqa_cloud.database import Database
from support.browser import serving
from support.consoles import FakeAsker, browsing, make_console
from support.fleet import Fleet
from support.fleet_databases import Databases
from support.rollout_rows import RolloutRows

NOW_MS = 1_799_964_600_000
EVIL = "\"><img src=x onerror=window.pwned=true>'&"


@dataclass
class World:
    """A console that is served, its fleet and its database."""

    url: str
    database: Database
    fleet: Fleet
    asker: FakeAsker
    rows: RolloutRows


@contextmanager
def served(database: Database) -> Iterator[World]:
    """A console over a database."""
    asker = FakeAsker()
    console = make_console(database, now_ms=lambda: NOW_MS, asker=asker)
    with serving(build_app(console)) as url:
        fleet, rows = Fleet(database, NOW_MS), RolloutRows(database, NOW_MS)
        yield World(url, database, fleet, asker, rows)


@contextmanager
def other_world(databases: Databases, name: str | None) -> Iterator[tuple[World, httpx.Client]]:
    """One that a test has for itself, and a browser; nobody has logged in where no name is said."""
    with (
        databases.open(databases.new()) as database,
        served(database) as world,
        browsing(world.url, name) as client,
    ):
        yield world, client


@dataclass
class Read(HTMLParser):
    """What a page is made of."""

    text: str
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.said.append(data)

    def __hash__(self) -> int:
        return id(self)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        return [
            found for name, found in self.tags
            if name == tag and all(found.get(one) == value for one, value in attributes.items())
        ]  # fmt: skip

    @property
    def plain(self) -> str:
        return " ".join(" ".join(self.said).split())
