"""A candidate answers a sample of live questions beside the active model; nobody sees its answers.

What is compared: the best span of both, exactly and by SQuAD's F1 of their texts, and the inference
time. Live questions come first: at most one is with the candidate at a time, and what comes
meanwhile is not sampled.

Thread: `observe` and the completions come from threads of the model processes, `wait` from the
swapper's.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

from edgeqa.errors import GateError
from edgeqa.messages import ModelRef
from edgeqa.model_messages import Shadow, ShadowScores
from edgeqa.squad import f1
from edgeqa_agent.jobs import Outcome, Task
from edgeqa_agent.request import Request


class Trial:
    """One candidate's time in the shadow.

    Args:
        terms: of the wish.
        ask: gives a request to the candidate.
    """

    def __init__(self, terms: Shadow, *, ask: Callable[[Request], None]) -> None:
        self._terms = terms
        self._ask = ask
        self._changed = threading.Condition()
        self._due = 0.0
        self._busy = False
        self._equal = 0
        self._f1: list[float] = []
        self._times_ms: list[tuple[float, float]] = []  # active, candidate
        self._failure: str | None = None
        self._ends = time.monotonic() + terms.timeout_s

    def observe(self, tasks: list[Task], outcomes: list[Outcome]) -> None:
        """The active model has answered: perhaps ask the candidate the same."""
        pairs = [(t, o) for t, o in zip(tasks, outcomes, strict=True) if o.error is None]
        with self._changed:
            self._due += self._terms.fraction * len(pairs)
            if not pairs or self._due < 1 or self._busy or self._done:
                self._due = min(self._due, 1.0)  # no burst after a pause
                return
            self._due -= 1
            self._busy = True
        task, live = pairs[0]

        def compare(given: list[Outcome], begun_at: float, model: ModelRef | None) -> None:
            del begun_at, model
            self._compare(live, given[0])

        self._ask(Request([task], None, compare))

    @property
    def scores(self) -> ShadowScores:
        """So far."""
        with self._changed:
            compared = len(self._f1)
            return ShadowScores(
                questions=compared,
                wanted=self._terms.questions,
                exact_agreement=round(self._equal / compared, 4) if compared else 0.0,
                f1_agreement=round(min(1.0, statistics.fmean(self._f1)), 4) if compared else 0.0,
                latency_ratio=self._ratio(),
            )

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the trial, at most so long; True when there is nothing to wait for.

        Raises:
            GateError: `shadow_timeout`, too few questions came in the trial's time.
        """
        with self._changed:
            if self._changed.wait_for(lambda: self._done, seconds):
                return True
            if time.monotonic() > self._ends:
                raise GateError(
                    f"{len(self._f1)} of {self._terms.questions} questions came in "
                    f"{self._terms.timeout_s:g} s",
                    code="shadow_timeout",
                )
            return False

    def judge(self) -> None:
        """Whether the candidate may go on.

        Raises:
            GateError: `shadow_disagrees` or `shadow_slow`.
        """
        if self._failure is not None:
            raise GateError(f"it refused a live question: {self._failure}", code="shadow_disagrees")
        scores = self.scores
        if scores.f1_agreement < self._terms.min_agreement:
            raise GateError(
                f"its answers to {scores.questions} live questions agree with F1 "
                f"{scores.f1_agreement}; at least {self._terms.min_agreement} is demanded",
                code="shadow_disagrees",
            )
        most = self._terms.max_latency_ratio
        if most is not None and scores.latency_ratio is not None and scores.latency_ratio > most:
            raise GateError(
                f"it took {scores.latency_ratio} times as long as the active model over "
                f"{scores.questions} live questions; at most {most} is allowed",
                code="shadow_slow",
            )

    @property
    def _done(self) -> bool:
        return self._failure is not None or len(self._f1) >= self._terms.questions

    def _ratio(self) -> float | None:
        active = statistics.median([ours for ours, _ in self._times_ms] or [0.0])
        if active <= 0:
            return None
        return round(statistics.median([theirs for _, theirs in self._times_ms]) / active, 3)

    def _compare(self, live: Outcome, given: Outcome) -> None:
        with self._changed:
            self._busy = False
            if given.error is not None:
                self._failure = ": ".join(given.error)
            else:
                ours, theirs = _best(live), _best(given)
                self._equal += ours == theirs
                self._f1.append(f1(ours[0], theirs[0]))
                self._times_ms.append((live.inference_ms, given.inference_ms))
            self._changed.notify_all()


def _best(outcome: Outcome) -> tuple[str, int, int]:
    text, start, end, _ = outcome.spans[0] if outcome.spans else ("", 0, 0, 0.0)
    return text, start, end
