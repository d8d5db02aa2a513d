"""The thread that stores: takes what waits, commits it in one transaction, acknowledges it.

A message is acknowledged to the broker after the commit that stored it or put it into quarantine,
never before. Where the database is in trouble everything waits, and the broker holds back what it
has not sent yet. Where one row is at fault, it alone goes to quarantine.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from structlog.typing import FilteringBoundLogger

from edgeqa.acks import Receipt
from edgeqa.transport import Backoff
from edgeqa_cloud.database import reason
from edgeqa_cloud.faults import is_passing, is_trouble
from edgeqa_cloud.inbox import Inbox
from edgeqa_cloud.reading import Arrival, Refused, read
from edgeqa_cloud.storage import Storage
from edgeqa_cloud.stored import Stored
from edgeqa_cloud.watching import Watcher

_LOOK_S = 0.25
# A deadlock with another collector is over when one of the two has given way.
_AT_ONCE = 5
# With the farewell of a collector whose database is away.
_END_S = 10.0


class Writer:
    """Use `start` and `stop`.

    Args:
        inbox: what came.
        storage: where it goes.
        acknowledge: tells the broker of committed messages, in order.
        watcher: counts.
        batch_messages: most in one transaction.
        max_payload_bytes: of a message that is stored.
        log: for troubles, once each.
    """

    def __init__(
        self,
        *,
        inbox: Inbox,
        storage: Storage,
        acknowledge: Callable[[Sequence[Receipt]], None],
        watcher: Watcher,
        batch_messages: int,
        max_payload_bytes: int,
        log: FilteringBoundLogger,
    ) -> None:
        self.committed = Counter[str]()
        self._inbox = inbox
        self._storage = storage
        self._acknowledge = acknowledge
        self._watcher = watcher
        self._batch_messages = batch_messages
        self._max_payload_bytes = max_payload_bytes
        self._log = log
        self._give_up = threading.Event()
        self._backoff = Backoff()
        self._troubled_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    @property
    def database_ok(self) -> bool:
        """Whether the last transaction succeeded."""
        return self._troubled_since is None

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Commit what was taken in, and end; not for long if the database is in trouble."""
        self._inbox.close()
        if self._troubled_since is not None:
            self._give_up.set()
        self._thread.join(_END_S)
        self._give_up.set()
        self._thread.join(_END_S)

    def _run(self) -> None:
        while not self._give_up.is_set():
            batch = self._inbox.take(self._batch_messages, timeout_s=_LOOK_S)
            if not batch:
                if self._inbox.closed:
                    return
                continue
            self._settle(batch)

    def _settle(self, batch: list[Arrival]) -> None:
        """Store a batch however long it takes, and acknowledge it.

        Nothing is left out: behind a message that is not acknowledged, none can be.
        """
        while not self._give_up.is_set():
            try:
                self._store(batch)
                self._recovered()
                self._acknowledge([one.receipt for one in batch if one.receipt is not None])
                self._watcher.acknowledged(len(batch))
            except Exception as error:  # noqa: BLE001  a thread's edge
                if not is_trouble(error):
                    self._log.exception("batch_failed", messages=len(batch))
                self._wait_out(error)
            else:
                for one in batch:
                    one.judgement = None  # a circle, which only the garbage collector would find
                return

    def _store(self, batch: Sequence[Arrival]) -> None:
        """In one transaction if that is possible, in several if a row is at fault."""
        began = time.monotonic()
        try:
            stored = self._store_again(batch)
        except Exception as error:
            if is_trouble(error):
                raise
            if len(batch) == 1:
                self._refuse(batch[0], error)
                return
            middle = len(batch) // 2
            self._store(batch[:middle])
            self._store(batch[middle:])
            return
        self._count(stored, len(batch), time.monotonic() - began)

    def _store_again(self, batch: Sequence[Arrival]) -> Stored:
        most = self._max_payload_bytes
        items = [
            item
            for one in batch
            if (item := one.judgement or read(one, most_bytes=most)) is not None
        ]
        for left in reversed(range(_AT_ONCE)):
            try:
                return self._storage.store(items)
            except Exception as error:
                if not (left and is_passing(error)):
                    raise
        raise AssertionError

    def _refuse(self, arrival: Arrival, error: Exception) -> None:
        self._log.warning("message_refused_by_database", topic=arrival.topic, reason=reason(error))
        item = read(arrival, most_bytes=self._max_payload_bytes)
        device = getattr(item, "device", None)
        refused = Refused(arrival, "not_storable", reason(error), device)
        self._count(self._storage.store([refused]), 1, 0.0)

    def _count(self, stored: Stored, messages: int, seconds: float) -> None:
        self.committed.update(stored.counts)
        self._watcher.stored(stored, messages=messages, seconds=seconds)
        if stored.dropped:
            self._log.warning("quarantine_full", dropped=stored.dropped)

    def _wait_out(self, error: Exception) -> None:
        self._watcher.commit_failed()
        if self._troubled_since is None:
            self._troubled_since = time.monotonic()
            self._log.error("database_failed", reason=reason(error), waiting=len(self._inbox))
        self._give_up.wait(self._backoff.next_s())

    def _recovered(self) -> None:
        self._backoff.reset()
        if self._troubled_since is not None:
            down_s = round(time.monotonic() - self._troubled_since, 1)
            self._troubled_since = None
            self._log.info("database_back", down_s=down_s)
