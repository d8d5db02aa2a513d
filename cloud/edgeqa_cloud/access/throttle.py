"""How often somebody may try to log in.

After some failures each further try has to wait, twice as long each time; a name and an address
are counted each for itself, so that neither one name is tried from many places nor many names from
one. Kept in memory, in a bounded number: a process that starts anew has forgotten them.

Thread: any.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

# Names and addresses that failed lately; beyond that the oldest are forgotten.
MAX_KEYS = 10_000
# A person who mistypes is not made to wait.
FREE_FAILURES = 5
# Somebody who fails no more for so long begins anew.
FORGET_S = 900.0
_FIRST_WAIT_S = 1.0
# Long enough against guessing; not a way to lock a person out for good.
MAX_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int
    last_s: float


class Throttle:
    """Of tries to log in.

    Args:
        monotonic: seconds.
    """

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def wait_s(self, keys: Iterable[str]) -> float:
        """How long these have to wait; 0: they may try now."""
        now = self._monotonic()
        with self._lock:
            return max((self._wait(key, now) for key in keys), default=0.0)

    def failed(self, keys: Iterable[str]) -> None:
        """These failed."""
        now = self._monotonic()
        with self._lock:
            for key in keys:
                before = self._current(key, now)
                self._failures[key] = _Failures((before.count if before else 0) + 1, now)
                self._failures.move_to_end(key)
            while len(self._failures) > MAX_KEYS:
                self._failures.popitem(last=False)

    def succeeded(self, keys: Iterable[str]) -> None:
        """These logged in."""
        with self._lock:
            for key in keys:
                self._failures.pop(key, None)

    def _current(self, key: str, now: float) -> _Failures | None:
        found = self._failures.get(key)
        return found if found and now - found.last_s < FORGET_S else None

    def _wait(self, key: str, now: float) -> float:
        found = self._current(key, now)
        if found is None or found.count < FREE_FAILURES:
            return 0.0
        wait = min(MAX_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(found.count - FREE_FAILURES, 30))
        return max(0.0, found.last_s + wait - now)
