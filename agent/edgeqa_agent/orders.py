"""What the swapper is to do next: the newest order, which displaces what came before.

Thread: put from the network thread, take in the swapper's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edgeqa.errors import EdgeqaError
from edgeqa.model_messages import Desired


@dataclass(frozen=True, slots=True)
class Rollback:
    """A person wants the previous model back.

    Attributes:
        done: called once: with None, or with why it was not done.
    """

    done: Callable[[EdgeqaError | None], None]


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Whatever was wished for and is not done yet is not wanted any more."""


Order = Desired | Rollback | Withdrawal


class SupersededError(EdgeqaError):
    """Something newer is to be done; what is under way is dropped."""

    code = "superseded"


class Orders:
    """Room for one order: the newest."""

    def __init__(self) -> None:
        self.newer = threading.Event()  # what `take` gave last is to be dropped
        self._changed = threading.Condition()
        self._next: Order | None = None
        self._in_hand: Order | None = None
        self._closed = False
        self._abort: Callable[[], None] | None = None

    def put(self, order: Order) -> None:
        """Displace whatever was to be done, unless it is the same wish: a broker repeats it."""
        with self._changed:
            newest = self._next or self._in_hand
            if isinstance(order, Desired) and order == newest:
                return
            displaced, self._next = self._next, order
            self._drop_what_is_under_way()
        if isinstance(displaced, Rollback):
            displaced.done(SupersededError("a newer wish came"))

    def close(self) -> None:
        """Drop everything: `take` gives None from now on."""
        with self._changed:
            self._closed = True
            self._drop_what_is_under_way()

    @property
    def closed(self) -> bool:
        """Whether the agent stops."""
        return self._closed

    def take(self) -> Order | None:
        """Wait for the next order; None when closed."""
        with self._changed:
            self._in_hand = None
            self._changed.wait_for(lambda: self._closed or self._next is not None)
            if self._closed:
                return None
            self._in_hand, self._next = self._next, None
            self.newer.clear()
            return self._in_hand

    def check(self) -> None:
        """Go on, or not.

        Raises:
            SupersededError: something newer is to be done, or the agent stops.
        """
        if self.newer.is_set():
            raise SupersededError("a newer wish came")

    def pause(self, seconds: float) -> None:
        """Sleep, but not beyond a newer order.

        Raises:
            SupersededError: as `check`.
        """
        self.newer.wait(seconds)
        self.check()

    @contextmanager
    def aborting(self, abort: Callable[[], None]) -> Iterator[None]:
        """Inside the block a newer order calls `abort`, once, in a thread of its own.

        Raises:
            SupersededError: as `check`.
        """
        with self._changed:
            self.check()
            self._abort = abort
        try:
            yield
        finally:
            with self._changed:
                self._abort = None

    def _drop_what_is_under_way(self) -> None:
        self.newer.set()
        self._changed.notify_all()
        if self._abort is not None:
            threading.Thread(target=self._abort, name="abort-load", daemon=True).start()
            self._abort = None
