"""Dividing the cores among the questions that are being read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Cores:
    """As many cores as the model process may use.

    A question takes all of them where nothing else is being read or ready to be, else one. So one
    client has the shortest latency, and many have the highest throughput: several inferences with
    one thread each need no barriers between threads.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = count
        self._changed = threading.Condition()

    @contextmanager
    def take(self, *, wanted_by_others: Callable[[], bool]) -> Iterator[bool]:
        """Wait for a core and hold it, or all of them, inside the block.

        Args:
            wanted_by_others: whether another question is ready to be read.

        Yields:
            True where it holds all cores.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0)
            alone = self._free == self._count and not wanted_by_others()
            held = self._count if alone else 1
            self._free -= held
        try:
            yield alone
        finally:
            with self._changed:
                self._free += held
                self._changed.notify_all()
