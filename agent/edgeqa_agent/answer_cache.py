"""Questions that were answered before are answered at once; equal ones in hand are inferred once.

It stands before the queue of live questions. Questions that the agent asks itself, to check,
evaluate or shadow a model, do not pass here. An answer is taken from here only where the model that
would be asked now is the one that gave it: its digest is part of the key, and an answer of another
model, after a swap or a choice between two, is not given in its place. A message has one model: a
batch whose parts came from different ones is asked again as a whole.

Thread: any; requests are completed in the threads of those who offer and of the model processes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from edgeqa.errors import DeadlineError
from edgeqa.messages import ModelRef
from edgeqa_agent.answer_cache_store import KeptAnswers, Key, task_digest
from edgeqa_agent.jobs import Outcome, refused
from edgeqa_agent.request import Request

Offer = Callable[[Request], bool]
# The model that a request would be answered by now; None: the request is to be left alone.
Expect = Callable[[Request], ModelRef | None]


@dataclass(slots=True, eq=False)
class _Message:
    """A request whose outcomes come from several places; the cache's lock guards it.

    Attributes:
        digests: of its questions.
        model: that gave its last answer, or refusal while there is no answer.
        answered_by: digests of the models that gave answers.
        open: outcomes that are still to come, and one until all places are asked.
    """

    request: Request
    expected: ModelRef
    digests: list[bytes]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    model: ModelRef | None = None
    answered_by: set[str] = field(default_factory=set)
    begun_at: float | None = None
    open: int = 1

    def key(self, index: int) -> Key:
        return self.expected.digest, self.digests[index]

    def take(self, index: int, outcome: Outcome, begun_at: float, model: ModelRef | None) -> None:
        self.outcomes[index] = outcome
        if outcome.error is None and model is not None:
            self.model = model
            self.answered_by.add(model.digest)
        elif not self.answered_by:
            self.model = model
        self.begun_at = begun_at if self.begun_at is None else min(self.begun_at, begun_at)


@dataclass(slots=True, eq=False)
class _Flight:
    """A question that is with the model for a message, and the questions that wait for it."""

    leader: _Message
    followers: list[tuple[_Message, int]] = field(default_factory=list)


class AnswerCache:
    """A queue of questions before another one.

    Args:
        offer: the queue of those that the model is to answer.
        expect: which model that would be.
        kept: answers.
        most_followers: questions that may wait for an equal one; others are asked as if they were
            not equal.
    """

    def __init__(
        self, *, offer: Offer, expect: Expect, kept: KeptAnswers, most_followers: int
    ) -> None:
        self._ask = offer
        self._expect = expect
        self._kept = kept
        self._most_followers = most_followers
        self._lock = threading.Lock()
        self._flights: dict[Key, _Flight] = {}
        self._following = 0

    def offer(self, request: Request) -> bool:
        """Take a request; False, and nothing kept, where the queue is full."""
        model = self._expect(request)
        if model is None:
            return self._ask(request)
        message = _Message(request, model, [task_digest(task) for task in request.tasks])
        with self._lock:
            led = self._divide(message)
        if led and not self._lead(message, led):
            return False
        self._arrived(message)
        return True

    def _divide(self, message: _Message) -> list[int]:
        """Take what is known, wait for what is under way; which questions are to be asked."""
        now, led = time.monotonic(), []
        for index in range(len(message.request.tasks)):
            key = message.key(index)
            known, flight = self._kept.get(key), self._flights.get(key)
            if known is not None:
                message.take(index, _again(known, message.request, now), now, message.expected)
            elif flight is not None and self._following < self._most_followers:
                flight.followers.append((message, index))
                message.open += 1
                self._following += 1
            else:
                led.append(index)
                self._flights.setdefault(key, _Flight(message))
        message.open += len(led)
        return led

    def _lead(self, message: _Message, led: list[int]) -> bool:
        """Ask the model; where its queue is full, undo all that `_divide` did."""

        def complete(outcomes: list[Outcome], begun_at: float, model: ModelRef | None) -> None:
            message.request.choice = asked.choice
            self._answered(message, led, outcomes, begun_at, model)

        tasks = [message.request.tasks[index] for index in led]
        asked = replace(message.request, tasks=tasks, complete=complete)
        if self._ask(asked):
            return True
        with self._lock:
            for flight in self._flights.values():
                mine = [one for one in flight.followers if one[0] is message]
                self._following -= len(mine)
                flight.followers = [one for one in flight.followers if one[0] is not message]
            left = [one for index in led for one in self._land(message, index)]
        self._resume(left)
        return False

    def _answered(
        self,
        message: _Message,
        led: list[int],
        outcomes: Sequence[Outcome],
        begun_at: float,
        model: ModelRef | None,
    ) -> None:
        """The model has answered what a message led: tell those that wait for the same."""
        served: list[_Message] = []
        left: list[tuple[_Message, int]] = []
        with self._lock:
            for index, outcome in zip(led, outcomes, strict=True):
                message.take(index, outcome, begun_at, model)
                good = model if outcome.error is None else None
                if good is not None:
                    self._kept.put((good.digest, message.digests[index]), outcome)
                for other, place in self._land(message, index):
                    if good is None or good.digest != other.expected.digest:
                        left.append((other, place))
                        continue
                    other.take(place, _again(outcome, other.request, begun_at), begun_at, good)
                    served.append(other)
        self._arrived(message, len(led))
        for other in served:
            self._arrived(other)
        self._resume(left)

    def _land(self, message: _Message, index: int) -> list[tuple[_Message, int]]:
        """End a flight that a message led; who waits for it. The lock is held."""
        key = message.key(index)
        flight = self._flights.get(key)
        if flight is None or flight.leader is not message:
            return []
        del self._flights[key]
        self._following -= len(flight.followers)
        return flight.followers

    def _resume(self, left: list[tuple[_Message, int]]) -> None:
        """Ask for questions whose flight gave no answer for them."""
        for message, index in left:
            request = message.request

            def complete(
                outcomes: list[Outcome],
                begun_at: float,
                model: ModelRef | None,
                message: _Message = message,
                index: int = index,
            ) -> None:
                with self._lock:
                    message.take(index, outcomes[0], begun_at, model)
                self._arrived(message)

            alone = replace(request, tasks=[request.tasks[index]], complete=complete)
            if not self.offer(alone):
                complete([_busy()], time.monotonic(), message.expected)

    def _arrived(self, message: _Message, count: int = 1) -> None:
        """Some of its outcomes are there; the last completes it."""
        with self._lock:
            message.open -= count
            if message.open:
                return
        request = message.request
        if len(message.answered_by) > 1:
            if not self._ask(request):
                full = [_busy() for _ in request.tasks]
                request.complete(full, time.monotonic(), message.expected)
            return
        outcomes = [message.outcomes[index] for index in range(len(request.tasks))]
        request.complete(outcomes, message.begun_at or time.monotonic(), message.model)


def _again(outcome: Outcome, request: Request, begun_at: float) -> Outcome:
    """The outcome for another question that is equal, and for which nothing was inferred."""
    if request.stop_at is not None and begun_at > request.stop_at:
        error = DeadlineError()
        return refused(error.code, str(error))
    return replace(
        outcome, inference_ms=0.0, tokenise_ms=0.0, decode_ms=0.0, begun_at=begun_at, cached=True
    )


def _busy() -> Outcome:
    return refused("busy", "the queue is full; ask again later")
