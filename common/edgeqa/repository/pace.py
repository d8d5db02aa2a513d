"""How fast a fetch goes: not faster than allowed, not slower than bearable, and when again.

Pure but for the clock and the waiting, which are passed in.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgeqa.repository.fetching import FetchError
from edgeqa.repository.origins import OriginError

# A GPRS link in its slowest coding (CS-1) with one slot carries about 8 kbit/s. Less than that for
# a whole timeout is a server that holds us, not a link.
_LEAST_BYTES_S = 1000
_BACKOFF_FIRST_S = 0.5
_BACKOFF_MOST_S = 30.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Time and chance, to be replaced in tests.

    Attributes:
        monotonic: seconds.
        wait: for an event, at most so many seconds; whether it is set.
        jitter: from 0 to 1.
    """

    monotonic: Callable[[], float] = time.monotonic
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    jitter: Callable[[], float] = random.random


class Throttle:
    """Keeps the mean rate of all that is paid for at the allowed one.

    Args:
        rate_bytes_s: 0: unlimited.
        stop: ends a wait.
    """

    def __init__(self, rate_bytes_s: int, *, timing: Timing, stop: threading.Event) -> None:
        self._rate = rate_bytes_s
        self._timing = timing
        self._stop = stop
        self._free_at = 0.0

    def pay(self, count: int) -> None:
        """Wait until so many bytes more are within the rate.

        Raises:
            FetchError: `superseded`, stopped meanwhile.
        """
        if not self._rate:
            return
        now = self._timing.monotonic()
        # Time in which nothing was read is not made up for.
        self._free_at = max(self._free_at, now) + count / self._rate
        pause(self._free_at - now, timing=self._timing, stop=self._stop)


class Watch:
    """Sees that a connection brings a least number of bytes per second, however it spreads them.

    Args:
        window_s: over which the rate is taken.
        rate_bytes_s: of the throttle, which may allow less than that.
    """

    def __init__(self, *, window_s: float, rate_bytes_s: int, timing: Timing) -> None:
        self._window_s = window_s
        self._least = min(_LEAST_BYTES_S, rate_bytes_s / 2) if rate_bytes_s else _LEAST_BYTES_S
        self._timing = timing
        self._since = timing.monotonic()
        self._count = 0

    def saw(self, count: int) -> None:
        """So many bytes came.

        Raises:
            OriginError: too few in the whole window.
        """
        self._count += count
        passed = self._timing.monotonic() - self._since
        if passed < self._window_s:
            return
        if self._count < self._least * passed:
            raise OriginError(f"only {self._count} bytes came in {passed:.0f} s")
        self._since += passed
        self._count = 0


def backoff_s(failures: int, *, after_s: float, timing: Timing) -> float:
    """How long to wait after so many failures in a row.

    Exponential, of which half is chance, so that a fleet does not come back at one moment; not
    less than the server asks, within the bound.
    """
    full = min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 16))
    return max(full * (1 + timing.jitter()) / 2, min(after_s, _BACKOFF_MOST_S))


def pause(seconds: float, *, timing: Timing, stop: threading.Event) -> None:
    """Wait.

    Raises:
        FetchError: `superseded`, stopped meanwhile.
    """
    if seconds > 0 and timing.wait(stop, seconds):
        raise FetchError("the fetch was stopped", code="superseded")
