"""The way of a question through the agent: taken, checked, answered, acknowledged.

Invariants: a message is acknowledged to the broker only once the broker has its answer, or once
it needs none; every message that is taken gets one answer; a redelivered one is not inferred
again. Stopping, the agent acknowledges nothing new, and the broker gives what is left to the next
start.

Thread: `on_ask` and `on_context` run in the MQTT network thread, completions in the dispatcher's
threads, `tick` in the main thread; `_lock` guards what they share.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import BrokerError, PayloadError
from edgeqa.messages import Ask, ModelRef
from edgeqa.packets import Delivered, Delivery, Outgoing
from edgeqa.topics import DeviceTopics, check_response_topic
from edgeqa_agent.contexts import Contexts
from edgeqa_agent.intake import Intake, id_in, stop_at
from edgeqa_agent.jobs import Outcome, Task
from edgeqa_agent.ledger import Entry, Ledger, Progress, key_of
from edgeqa_agent.replies import Asked, Replies, ReplyTo
from edgeqa_agent.request import Request

# After the first subscription the broker sends the retained texts; a question that names one may
# overtake them, so an unknown text is waited for this long. Generous for a local broker; a question
# that names no known text waits no longer than this, and only at the start.
CONTEXT_GRACE_S = 1.0
_MAX_PARKED = 1000


class Publisher(Protocol):
    """The part of an MQTT link that the router needs."""

    def publish(self, message: Outgoing, delivered: Delivered | None = None) -> None:
        """See `MqttLink.publish`."""

    def acknowledge(self, delivery: Delivery) -> None:
        """See `MqttLink.acknowledge`."""


class Measures(Protocol):
    """Who is told what becomes of questions, each once."""

    def refused(self, code: str, questions: int) -> None:
        """See `Meter.refused`."""

    def completed(self, outcomes: list[Outcome], *, received_at: float, done_at: float) -> None:
        """See `Meter.completed`."""

    def chosen(self, model: ModelRef, reason: str, questions: int) -> None:
        """See `Meter.chosen`."""

    def published(self, questions: int, *, seconds: float) -> None:
        """See `Meter.published`."""


class Router:
    """Takes questions from a link, gives them to the dispatcher and publishes the answers."""

    def __init__(
        self,
        *,
        link: Publisher,
        topics: DeviceTopics,
        intake: Intake,
        contexts: Contexts,
        ledger: Ledger,
        replies: Replies,
        offer: Callable[[Request], bool],
        meter: Measures,
        log: FilteringBoundLogger,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._link = link
        self._topics = topics
        self._intake = intake
        self._contexts = contexts
        self._ledger = ledger
        self._replies = replies
        self._offer = offer
        self._meter = meter
        self._log = log
        self._lock = threading.Lock()
        self._parked: deque[Delivery] = deque()
        self._grace_ends: float | None = None
        self._stopping = False

    def connected(self) -> None:
        """The first connection stands: stored texts are on their way."""
        if self._grace_ends is None:
            self._grace_ends = time.monotonic() + CONTEXT_GRACE_S

    def stop_taking(self) -> None:
        """Leave messages that come from now on to the next start."""
        self._stopping = True

    def tick(self) -> None:
        """Refuse or answer questions whose text did not come in time."""
        with self._lock:
            if not self._parked or time.monotonic() < (self._grace_ends or 0):
                return
            parked, self._parked = list(self._parked), deque()
        for delivery in parked:
            self.on_ask(delivery)

    def on_context(self, delivery: Delivery) -> None:
        """Store, replace or delete a text."""
        context_id = self._topics.context_id(delivery.topic) or ""
        try:
            self._contexts.put(context_id, delivery.payload)
            self._log.debug("context_stored", context_id=context_id, bytes=len(delivery.payload))
        except PayloadError as error:
            self._count(error.code)
            self._log.warning("context_refused", context_id=context_id, code=error.code)
        self._link.acknowledge(delivery)
        with self._lock:
            parked, self._parked = list(self._parked), deque()
        for waiting in parked:
            self.on_ask(waiting)

    def on_ask(self, delivery: Delivery) -> None:
        """Take a question; every way out of here answers, parks or leaves it to the broker."""
        if self._stopping:
            return
        try:
            reply_to = self._reply_to(delivery)
        except PayloadError as error:
            own = ReplyTo(self._topics.answers, delivery.correlation)
            self._refuse(delivery, own, None, error)
            return
        entry = self._enter(delivery, reply_to)
        if entry is None:
            return
        ask: Ask | None = None
        try:
            ask = self._intake.parse(delivery.payload)
            self._take(delivery, entry, ask, reply_to)
        except PayloadError as error:
            with self._lock:
                self._ledger.drop(entry)
            if error.code == "unknown_context" and self._park(delivery):
                return
            question_id = ask.id if ask else self._intake.id_in(delivery.payload)
            questions = len(ask.questions) if ask and ask.questions else 1
            self._refuse(delivery, reply_to, question_id, error, questions=questions)

    def _reply_to(self, delivery: Delivery) -> ReplyTo:
        if delivery.response_topic is None:
            return ReplyTo(self._topics.answers, delivery.correlation)
        return ReplyTo(check_response_topic(delivery.response_topic), delivery.correlation)

    def _enter(self, delivery: Delivery, reply_to: ReplyTo) -> Entry | None:
        """A new entry of the ledger, or None where the question is a repeat and dealt with."""
        key = key_of(delivery, reply_to.topic)
        with self._lock:
            entry = self._ledger.find(key)
            if entry is None or not self._is_repeat(delivery):
                return self._ledger.begin(key, delivery)
            self.counts["repeated"] += 1
            progress, answer = entry.progress, entry.answer
            if progress in {Progress.RUNNING, Progress.ANSWERED}:
                entry.deliveries.append(delivery)  # its answer is on its way and serves this too
                return None
        if answer is None or (progress is Progress.DELIVERED and delivery.redelivered):
            self._link.acknowledge(delivery)  # the broker has the answer, only our ack was lost
        else:
            entry.deliveries.append(delivery)
            self._publish(entry, answer)  # the client asks again, or we could not say it before
        return None

    @staticmethod
    def _is_repeat(delivery: Delivery) -> bool:
        """Whether equal content means the same question: without any id, only a redelivery does."""
        return (
            delivery.redelivered
            or delivery.correlation is not None
            or id_in(delivery.payload) is not None
        )

    def _take(self, delivery: Delivery, entry: Entry, ask: Ask, reply_to: ReplyTo) -> None:
        items = ask.items()
        plan = self._intake.plan(
            items, batch=ask.questions is not None, strict=self._awaits_contexts()
        )
        asked = Asked(reply_to, ask.id, items, ask.questions is not None, delivery.received_at)
        tasks = [step for step in plan if isinstance(step, Task)]

        def complete(outcomes: list[Outcome], begun_at: float, model: ModelRef | None) -> None:
            given = iter(outcomes)
            merged = [next(given) if isinstance(step, Task) else step for step in plan]
            self._complete(entry, asked, merged, begun_at, model, choice=request.choice)

        request = Request(tasks, stop_at(delivery, ask), complete, quality=ask.quality)
        if not tasks:
            complete([], time.monotonic(), None)
        elif not self._offer(request):
            raise PayloadError("the queue is full; ask again later", code="busy")

    def _complete(
        self,
        entry: Entry,
        asked: Asked,
        outcomes: list[Outcome],
        begun_at: float,
        model: ModelRef | None,
        *,
        choice: str | None,
    ) -> None:
        answer = self._replies.answer(asked, outcomes, begun_at, model, choice=choice)
        done_at = time.monotonic()
        with self._lock:
            self._ledger.finish(entry, answer)
            entry.answered = sum(outcome.error is None for outcome in outcomes)
            for outcome in outcomes:
                self.counts[outcome.error[0] if outcome.error else "answered"] += 1
        if self._publish(entry, answer):
            self._meter.completed(outcomes, received_at=asked.received_at, done_at=done_at)
            if model is not None and choice is not None and entry.answered:
                self._meter.chosen(model, choice, entry.answered)
        else:
            self._meter.refused("packet_too_large", len(outcomes))

    def _publish(self, entry: Entry, answer: Outgoing) -> bool:
        """Hand an answer over; False where an error had to take its place."""

        def delivered(reason: str | None) -> None:
            if reason:
                self._log.debug("answer_unheard", reason=reason, topic=answer.topic)
            with self._lock:
                known = entry.progress is Progress.DELIVERED
                entry.progress = Progress.DELIVERED
                served, entry.deliveries = entry.deliveries, []
            if entry.answered and not known:
                self._meter.published(entry.answered, seconds=time.monotonic() - entry.since)
            for delivery in served:
                self._link.acknowledge(delivery)

        try:
            self._link.publish(answer, delivered)
        except BrokerError as error:
            self._count(error.code)
            self._log.error("answer_not_queued", code=error.code)
            if error.code == "packet_too_large":
                # It never will be taken: say so, instead of blocking all later acknowledgements.
                entry.answered = 0
                self._publish(entry, self._replies.too_large(answer, str(error)))
                return False
            with self._lock:  # unacknowledged, the question comes again with the next connection
                entry.progress = Progress.UNSENT
        return True

    def _refuse(
        self,
        delivery: Delivery,
        reply_to: ReplyTo,
        question_id: str | None,
        error: PayloadError,
        *,
        questions: int = 1,
    ) -> None:
        self._count(error.code)
        self._meter.refused(error.code, questions)
        self._log.debug("question_refused", code=error.code, reason=str(error))
        refusal = self._replies.refusal(reply_to, question_id, error)
        try:
            self._link.publish(refusal, lambda _: self._link.acknowledge(delivery))
        except BrokerError as failure:
            self._log.error("answer_not_queued", code=failure.code)

    def _park(self, delivery: Delivery) -> bool:
        """Keep a question for a text that may be on its way; False where it is too late for it."""
        with self._lock:
            if not self._awaits_contexts() or len(self._parked) >= _MAX_PARKED:
                return False
            self._parked.append(delivery)
            return True

    def _awaits_contexts(self) -> bool:
        return self._grace_ends is None or time.monotonic() < self._grace_ends

    def _count(self, code: str) -> None:
        with self._lock:
            self.counts[code] += 1
