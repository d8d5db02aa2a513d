"""Finds what changed in the database, once a second, and tells whoever listens.

One thread for all readers. While the database is away there are no events; when it is back, what
changed meanwhile is told.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from structlog.typing import FilteringBoundLogger

from edgeqa_cloud.api.live import Event, Listener, missed, numbered
from edgeqa_cloud.api.looking import Looking
from edgeqa_cloud.api.problems import Problem
from edgeqa_cloud.database import Database, reason

LOOK_EVERY_S = 1.0
# Readers at once, and of one account: each holds a connection.
MAX_LISTENERS = 500
MAX_OF_ONE = 100
# For readers that come back within moments: some seconds of a large fleet.
MAX_KEPT = 1000


class Changes:
    """Use `start` and `stop`.

    Args:
        database: looked at.
        now_ms: our clock.
    """

    def __init__(
        self,
        *,
        database: Database,
        now_ms: Callable[[], int],
        log: FilteringBoundLogger,
        every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._database = database
        self._now_ms = now_ms
        self._log = log
        self._every_s = every_s
        # Numbers of another process mean nothing here.
        self.epoch = secrets.token_hex(4)
        self._looking = Looking()
        self._lock = threading.Lock()
        self._number = 0
        self._kept: deque[Event] = deque(maxlen=MAX_KEPT)
        self._listeners: set[Listener] = set()
        self._failed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="changes", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; all readers are told that this ends."""
        self._stop.set()
        with self._lock:
            for one in self._listeners:
                one.close()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def stopped(self) -> bool:
        """Whether there will be no more events."""
        return self._stop.is_set()

    @contextmanager
    def listening(self, *, account: str, after: str | None) -> Iterator[Listener]:
        """Events inside the block; call it in an event loop.

        Args:
            account: who listens.
            after: `Last-Event-ID` of who comes back.

        Raises:
            Problem: too many listen.
        """
        listener = Listener(loop=asyncio.get_running_loop(), account=account)
        with self._lock:
            mine = sum(one.account == account for one in self._listeners)
            if len(self._listeners) >= MAX_LISTENERS or mine >= MAX_OF_ONE:
                raise Problem(
                    503, "too_many_streams",
                    "too many event streams are open; close some, or try again later",
                    headers={"Retry-After": "30"},
                )  # fmt: skip
            self._listeners.add(listener)
            missing = self._missing(after)
        if missing:
            listener.offer(missing)
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners.discard(listener)

    def look(self) -> None:
        """Once; what the thread does every second."""
        with self._database.reading() as connection:
            found = self._looking.changes(connection, now_ms=self._now_ms())
        if not found:
            return
        with self._lock:
            events = numbered(found, self._number)
            self._number = events[-1].number
            self._kept.extend(events)
            listeners = list(self._listeners)
        for one in listeners:
            one.offer(events)

    def _missing(self, after: str | None) -> list[Event]:
        if after is None:
            return []
        epoch, _, text = after.rpartition("-")
        known = text.isascii() and text.isdigit() and len(text) < 19  # noqa: PLR2004  64 bits
        if epoch != self.epoch or not known:
            return missed(self._number)
        newer = [one for one in self._kept if one.number > int(text)]
        whole = len(newer) == self._number - int(text) and len(newer) < MAX_KEPT // 4
        return newer if whole else missed(self._number)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self.look()
                self._failed = False
            except DBAPIError as error:
                if not self._failed:  # once is enough
                    self._log.warning("events_wait_for_database", reason=reason(error))
                self._failed = True
            except Exception:  # noqa: BLE001  a thread's edge
                self._log.exception("looking_failed")
