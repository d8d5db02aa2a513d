"""Whether questions of others are under way, and how long there have been none.

Thread: any.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from edgeqa.messages import ModelRef
from edgeqa_agent.jobs import Outcome
from edgeqa_agent.request import Request

Offer = Callable[[Request], bool]


class Quiet:
    """Watches what is offered to the queue."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open = 0
        self._last = clock() - 86_400.0  # none came before the start

    @property
    def seconds(self) -> float:
        """Since the last question was answered; 0 while one is under way."""
        with self._lock:
            return 0.0 if self._open else self._clock() - self._last

    def through(self, offer: Offer) -> Offer:
        """The same queue, watched."""

        def offered(request: Request) -> bool:
            complete = request.complete

            def completed(outcomes: list[Outcome], begun_at: float, model: ModelRef | None) -> None:
                self._count(-1)
                complete(outcomes, begun_at, model)

            request.complete = completed
            self._count(1)
            taken = offer(request)
            if not taken:
                self._count(-1)
            return taken

        return offered

    def _count(self, change: int) -> None:
        with self._lock:
            self._open += change
            self._last = self._clock()
