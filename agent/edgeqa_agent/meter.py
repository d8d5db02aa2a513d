"""What becomes of questions and how long each part of their way takes, from one record to the next.

Every question that was inferred counts once in each histogram, one of a batch too; one that was
answered from what is kept counts as `cached` and in no histogram but `publish`: it would hide how
quick the model is. Questions that the agent asks itself, in the shadow or to evaluate a model, do
not pass here. All of it is bounded: a histogram has a fixed number of buckets, and codes beyond the
known number are added up.

Thread: any.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from edgeqa.histogram import Histogram, Recorder
from edgeqa.messages import ModelRef
from edgeqa.telemetry_messages import MAX_CHOICES, MAX_OUTCOMES, Chosen, Latency, Model
from edgeqa_agent.jobs import Outcome
from edgeqa_agent.request import Request

ANSWERED = "answered"
# Counts what has no code of its own: a model process says its own codes, and may have gone mad.
OTHER = "other"
PARTS = ("queue", "tokenise", "inference", "decode", "publish", "total")
# Where the histograms end, over an hour: a process that says more has gone mad, and must not spoil
# the sum of all others.
_MOST_MS = float(2**22)
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")

Offer = Callable[[Request], bool]
Choice = tuple[ModelRef, str]


@dataclass(frozen=True, slots=True)
class Figures:
    """Of an interval.

    Attributes:
        outcomes: questions by `answered` or the code of the refusal.
        cached: answered questions for which nothing was inferred.
        latency: milliseconds by part, those of `PARTS` in which something was measured.
        batch: questions in a message.
        choices: answered questions by model and by why it was chosen of two.
        depth: requests waiting and running at its end.
        depth_max: most of them at once.
    """

    outcomes: Mapping[str, int] = field(default_factory=dict)
    cached: int = 0
    latency: Mapping[str, Histogram] = field(default_factory=dict)
    batch: Histogram | None = None
    choices: Mapping[Choice, int] = field(default_factory=dict)
    depth: int = 0
    depth_max: int = 0

    @property
    def empty(self) -> bool:
        """Whether no question came, waited or was answered."""
        return not (self.outcomes or self.latency or self.depth_max)

    def plus(self, later: Figures) -> Figures:
        """Of this interval and the one that follows it."""
        latency = {
            part: merged
            for part in PARTS
            if (merged := _merged([self.latency.get(part), later.latency.get(part)]))
        }
        return Figures(
            outcomes=_few(Counter(self.outcomes) + Counter(later.outcomes)),
            cached=self.cached + later.cached,
            latency=latency,
            batch=_merged([self.batch, later.batch]),
            choices=Counter(self.choices) + Counter(later.choices),
            depth=later.depth,
            depth_max=max(self.depth_max, later.depth_max),
        )

    def as_fields(self) -> dict[str, object]:
        """As a record says it."""
        return {
            "outcomes": dict(self.outcomes),
            "cached": self.cached,
            "latency": Latency.model_validate(dict(self.latency)) if self.latency else None,
            "batch": self.batch,
            "choices": [
                Chosen(model=Model(**model.model_dump()), reason=reason, questions=questions)
                for (model, reason), questions in Counter(self.choices).most_common(MAX_CHOICES)
            ]
            or None,
            "queue_depth": self.depth,
            "queue_depth_max": self.depth_max,
        }


@dataclass(slots=True)
class _Interval:
    """What is being collected; the meter's lock guards it."""

    depth_max: int
    outcomes: Counter[str] = field(default_factory=Counter)
    cached: int = 0
    parts: dict[str, Recorder] = field(default_factory=dict)
    batch: Recorder | None = None
    choices: Counter[Choice] = field(default_factory=Counter)

    def count(self, code: str, questions: int) -> None:
        self.outcomes[code if _CODE.fullmatch(code) else OTHER] += questions
        if len(self.outcomes) > MAX_OUTCOMES:
            self.outcomes = _few(self.outcomes)

    def add(self, part: str, value_ms: float) -> None:
        if part not in self.parts:
            self.parts[part] = Recorder()
        self.parts[part].add(max(0.0, min(value_ms, _MOST_MS)))


class Meter:
    """Collects, and gives what it has collected."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._now = _Interval(depth_max=0)

    def through(self, offer: Offer) -> Offer:
        """The same queue, its depth measured."""

        def offered(request: Request) -> bool:
            complete = request.complete

            def completed(outcomes: list[Outcome], begun_at: float, model: ModelRef | None) -> None:
                with self._lock:
                    self._depth -= 1
                complete(outcomes, begun_at, model)

            # Before it is offered: it may be complete before `offer` returns.
            request.complete = completed
            with self._lock:
                self._depth += 1
                depth = self._depth
            taken = offer(request)
            with self._lock:
                if taken:
                    self._now.depth_max = max(self._now.depth_max, depth)
                else:
                    self._depth -= 1
            return taken

        return offered

    def refused(self, code: str, questions: int) -> None:
        """A message was refused as a whole."""
        with self._lock:
            self._now.count(code, questions)

    def completed(self, outcomes: list[Outcome], *, received_at: float, done_at: float) -> None:
        """A message has its answer.

        Args:
            outcomes: of its questions.
            received_at: `time.monotonic()` when it came.
            done_at: the same, when its answer was made.
        """
        total_ms = 1000 * (done_at - received_at)
        with self._lock:
            now = self._now
            now.batch = now.batch or Recorder()
            now.batch.add(len(outcomes))
            for outcome in outcomes:
                if outcome.error is not None:
                    now.count(outcome.error[0], 1)
                    continue
                now.count(ANSWERED, 1)
                if outcome.cached:
                    now.cached += 1
                    continue
                waited_ms = 1000 * (outcome.begun_at - received_at) - outcome.tokenise_ms
                now.add("queue", waited_ms)
                now.add("tokenise", outcome.tokenise_ms)
                now.add("inference", outcome.inference_ms)
                now.add("decode", outcome.decode_ms)
                now.add("total", total_ms)

    def chosen(self, model: ModelRef, reason: str, questions: int) -> None:
        """One of the device's two models answered so many questions of a message, and why it."""
        with self._lock:
            self._now.choices[model, reason] += questions

    def published(self, questions: int, *, seconds: float) -> None:
        """The broker has the answer to so many answered questions, so long after it was made."""
        with self._lock:
            for _ in range(questions):
                self._now.add("publish", 1000 * seconds)

    def take(self) -> Figures:
        """What was collected since the last time."""
        with self._lock:
            ended, depth = self._now, self._depth
            self._now = _Interval(depth_max=depth)
        return Figures(
            outcomes=dict(ended.outcomes),
            cached=ended.cached,
            latency={part: recorder.histogram() for part, recorder in ended.parts.items()},
            batch=ended.batch.histogram() if ended.batch else None,
            choices=ended.choices,
            depth=depth,
            depth_max=ended.depth_max,
        )


def _few(outcomes: Counter[str]) -> Counter[str]:
    """At most as many codes as a record may hold, the rarest added up."""
    if len(outcomes) <= MAX_OUTCOMES:
        return outcomes
    kept = Counter(dict(outcomes.most_common(MAX_OUTCOMES - 1)))
    kept[OTHER] += outcomes.total() - kept.total()
    return kept


def _merged(parts: Iterable[Histogram | None]) -> Histogram | None:
    known = [part for part in parts if part is not None]
    return Histogram.merged(known) if known else None
