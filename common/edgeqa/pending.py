"""The requests whose replies a client waits for: bounded, by correlation, with their deadlines.

No IO and no clock of its own: the client publishes, and says what time it is.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Generic, TypeVar

from edgeqa.errors import AnswerError, EdgeqaError, ExitCode
from edgeqa.packets import Outgoing

ReplyT = TypeVar("ReplyT")


class Stage(Enum):
    """How far a request has come on its way to the broker."""

    UNSENT = auto()
    SENT = auto()
    TAKEN = auto()


@dataclass(slots=True, eq=False)
class Request(Generic[ReplyT]):
    """One request under way: a question, a batch of them, or a command.

    Attributes:
        message: what to publish, without its expiry.
        target: for messages to people: `device pi5` or `group hall`.
        deadline: monotonic seconds.
        read: what a reply's payload says: the reply, or why there is none.
        repeatable: an agent answers a repeat as it answered the first time, so one that the
            broker had taken is published again after a reconnect.
    """

    message: Outgoing
    correlation: bytes
    target: str
    timeout_s: float
    deadline: float
    read: Callable[[bytes], ReplyT | EdgeqaError]
    repeatable: bool = True
    future: Future[ReplyT] = field(default_factory=Future)
    stage: Stage = Stage.UNSENT

    def settle(self, outcome: ReplyT | EdgeqaError) -> None:
        """Give the future its outcome; one that was cancelled meanwhile stays cancelled."""
        try:
            if isinstance(outcome, EdgeqaError):
                self.future.set_exception(outcome)
            else:
                self.future.set_result(outcome)
        except InvalidStateError:
            pass


class Pending:
    """The table. Thread: any."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._requests: dict[bytes, Request[Any]] = {}
        self._deadlines: list[tuple[float, int, bytes]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, request: Request[Any]) -> bool:
        """Note a request; whether its deadline is now the first of all.

        Raises:
            AnswerError: `too_many_pending`.
        """
        with self._lock:
            if len(self._requests) >= self._limit:
                raise AnswerError(
                    f"{self._limit} requests wait for their answers already",
                    code="too_many_pending",
                    exit_code=ExitCode.UNREACHABLE,
                )
            self._requests[request.correlation] = request
            entry = (request.deadline, next(self._order), request.correlation)
            heapq.heappush(self._deadlines, entry)
            self._drop_answered()
            return self._deadlines[0] is entry

    def take(self, correlation: bytes) -> Request[Any] | None:
        """Remove a request; None if it is not (any longer) waited for."""
        with self._lock:
            return self._requests.pop(correlation, None)

    def take_all(self) -> list[Request[Any]]:
        """Remove all."""
        with self._lock:
            requests = list(self._requests.values())
            self._requests.clear()
            self._deadlines.clear()
            return requests

    def take_overdue(self, now: float) -> list[Request[Any]]:
        """Remove those whose deadline has passed."""
        overdue = []
        with self._lock:
            while self._deadlines and self._deadlines[0][0] <= now:
                request = self._requests.pop(heapq.heappop(self._deadlines)[2], None)
                if request is not None:
                    overdue.append(request)
        return overdue

    def next_deadline(self) -> float | None:
        """When to look for overdue requests again."""
        with self._lock:
            return self._deadlines[0][0] if self._deadlines else None

    def claim(self, request: Request[Any]) -> bool:
        """Whether the caller is the one to publish it now."""
        with self._lock:
            if request.stage is not Stage.UNSENT or request.correlation not in self._requests:
                return False
            request.stage = Stage.SENT
            return True

    def delivered(self, request: Request[Any]) -> None:
        """The broker has it."""
        with self._lock:
            request.stage = Stage.TAKEN

    def unsend(self, request: Request[Any]) -> None:
        """It has to be published again."""
        with self._lock:
            request.stage = Stage.UNSENT

    def unsent(self, *, after_reconnect: bool) -> list[Request[Any]]:
        """Those to publish now.

        After a reconnect also those that the broker had taken, where a repeat is harmless: it may
        have lost them, or their replies.
        """
        with self._lock:
            for request in self._requests.values():
                if after_reconnect and request.repeatable and request.stage is Stage.TAKEN:
                    request.stage = Stage.UNSENT
            return [r for r in self._requests.values() if r.stage is Stage.UNSENT]

    def _drop_answered(self) -> None:
        # Entries of answered requests stay until their deadline; keep them from piling up.
        if len(self._deadlines) > 2 * len(self._requests) + 64:
            self._deadlines = [e for e in self._deadlines if e[2] in self._requests]
            heapq.heapify(self._deadlines)
