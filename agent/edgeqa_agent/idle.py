"""Memory that a model process gives back when nobody asks it anything.

onnxruntime and malloc keep the buffers of an inference for the next one. Left alone they stay for
as long as the process lives, at the size of the longest texts that it ever read at once.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable

# Long enough that no conversation pays for it: the first question afterwards takes some 3 ms more.
IDLE_S = 10.0


def trim() -> None:
    """Give what malloc keeps back to the system; nothing where the C library cannot.

    Source: malloc_trim(3), of glibc.
    """
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(ctypes.c_size_t(0))


class Idle:
    """Calls something once no work has ended for a while, and again only after more work.

    A thread sleeps meanwhile; under load it wakes once in `after_s`, without work never.
    """

    def __init__(self, *, then: Callable[[], None], after_s: float = IDLE_S) -> None:
        self._after_s = after_s
        self._then = then
        self._worked = threading.Event()
        self._last = 0.0

    def worked(self) -> None:
        """Some work has ended. Thread: any."""
        self._last = time.monotonic()
        self._worked.set()

    def run(self) -> None:
        """A thread's life; never returns."""
        while True:
            self._worked.wait()
            left = self._last + self._after_s - time.monotonic()
            if left > 0:
                time.sleep(left)
                continue
            self._worked.clear()
            self._then()
