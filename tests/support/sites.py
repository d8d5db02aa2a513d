"""A console that serves pages over a database filled row by row, with an engine that obeys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import structlog

from edgeqa_cloud.api.app import build_app
from edgeqa_cloud.api.changes import Changes
from edgeqa_cloud.api.parts import Console
from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout.service import Rollouts
from support.browser import Chromium, Visitor, serving
from support.consoles import PASSWORD, make_console
from support.fleet import Fleet
from support.rollout_rows import RolloutRows

# Often, so that a test does not wait for what a person would not notice.
_LOOK_EVERY_S = 0.1


def now_ms() -> int:
    """The clock of the console; the browser's, too."""
    return time.time_ns() // 1_000_000


@dataclass
class Engine:
    """What happens when an order was given, before whoever gave it looks at it."""

    obey: Callable[[], Any]

    def poke(self) -> None:
        """An order was given."""
        self.obey()


@dataclass
class Site:
    """A console at an address.

    Attributes:
        engine: obeys all orders unless told otherwise.
    """

    url: str
    console: Console
    fleet: Fleet
    rows: RolloutRows
    engine: Engine

    @contextmanager
    def visitor(
        self, chromium: Chromium, name: str = "otto", *, after: str = "/", **options: Any
    ) -> Iterator[Visitor]:
        """Somebody of `support.consoles.USERS` who has logged in and is at a page."""
        with chromium.visitor(self.url, **options) as visitor:
            session = self.console.accounts.login(name, PASSWORD, address="browser")
            visitor.context.add_cookies(
                [{"name": "edgeqa-session", "value": session.secret, "url": self.url,
                  "httpOnly": True, "sameSite": "Strict"}]
            )  # fmt: skip
            visitor.see(after)
            yield visitor


@contextmanager
def site(database: Database, *, catalogue: Any = None, **settings: Any) -> Iterator[Site]:
    """A console over a migrated database.

    Args:
        catalogue: reads the repository; without, this process reads none.
    """
    begun_ms = now_ms()
    fleet, rows = Fleet(database, begun_ms), RolloutRows(database, begun_ms)
    engine = Engine(rows.obey)
    changes = Changes(database=database, now_ms=now_ms, log=structlog.get_logger(),
                      every_s=_LOOK_EVERY_S)  # fmt: skip
    console = make_console(
        database, now_ms=now_ms, changes=changes,
        rollouts=Rollouts(database=database, now_ms=now_ms, poke=engine.poke), **settings,
    )  # fmt: skip
    console = replace(console, catalogue=catalogue)
    changes.start()
    try:
        with serving(build_app(console)) as url:
            yield Site(url, console, fleet, rows, engine)
            changes.stop()  # streams end before the server does
    finally:
        changes.stop()
