"""The questions that a client waits for: bounded, by correlation, with their deadlines.

No IO and no clock of its own: the client publishes, and says what time it is.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from enum import Enum, auto

from edgeqa.errors import AnswerError, EdgeqaError, ExitCode
from edgeqa.messages import Answer
from edgeqa.packets import Outgoing


class Stage(Enum):
    """How far a question has come on its way to the broker."""

    UNSENT = auto()
    SENT = auto()
    TAKEN = auto()


@dataclass(slots=True, eq=False)
class Question:
    """One request under way, of one question or of a batch.

    Attributes:
        message: what to publish, without its expiry.
        target: for messages to people: `device pi5` or `group hall`.
        deadline: monotonic seconds.
    """

    message: Outgoing
    correlation: bytes
    target: str
    timeout_s: float
    deadline: float
    future: Future[Answer] = field(default_factory=Future)
    stage: Stage = Stage.UNSENT

    def settle(self, outcome: Answer | EdgeqaError) -> None:
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
        self._questions: dict[bytes, Question] = {}
        self._deadlines: list[tuple[float, int, bytes]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._questions)

    def add(self, question: Question) -> bool:
        """Note a question; whether its deadline is now the first of all.

        Raises:
            AnswerError: `too_many_pending`.
        """
        with self._lock:
            if len(self._questions) >= self._limit:
                raise AnswerError(
                    f"{self._limit} questions wait for their answers already",
                    code="too_many_pending",
                    exit_code=ExitCode.UNREACHABLE,
                )
            self._questions[question.correlation] = question
            entry = (question.deadline, next(self._order), question.correlation)
            heapq.heappush(self._deadlines, entry)
            self._drop_answered()
            return self._deadlines[0] is entry

    def take(self, correlation: bytes) -> Question | None:
        """Remove a question; None if it is not (any longer) waited for."""
        with self._lock:
            return self._questions.pop(correlation, None)

    def take_all(self) -> list[Question]:
        """Remove all."""
        with self._lock:
            questions = list(self._questions.values())
            self._questions.clear()
            self._deadlines.clear()
            return questions

    def take_overdue(self, now: float) -> list[Question]:
        """Remove those whose deadline has passed."""
        overdue = []
        with self._lock:
            while self._deadlines and self._deadlines[0][0] <= now:
                question = self._questions.pop(heapq.heappop(self._deadlines)[2], None)
                if question is not None:
                    overdue.append(question)
        return overdue

    def next_deadline(self) -> float | None:
        """When to look for overdue questions again."""
        with self._lock:
            return self._deadlines[0][0] if self._deadlines else None

    def claim(self, question: Question) -> bool:
        """Whether the caller is the one to publish it now."""
        with self._lock:
            if question.stage is not Stage.UNSENT or question.correlation not in self._questions:
                return False
            question.stage = Stage.SENT
            return True

    def delivered(self, question: Question) -> None:
        """The broker has it."""
        with self._lock:
            question.stage = Stage.TAKEN

    def unsend(self, question: Question) -> None:
        """It has to be published again."""
        with self._lock:
            question.stage = Stage.UNSENT

    def unsent(self, *, after_reconnect: bool) -> list[Question]:
        """Those to publish now.

        After a reconnect also those that the broker had taken: it may have lost them, or their
        answers, and agents answer a repeated question once.
        """
        with self._lock:
            for question in self._questions.values():
                if after_reconnect and question.stage is Stage.TAKEN:
                    question.stage = Stage.UNSENT
            return [q for q in self._questions.values() if q.stage is Stage.UNSENT]

    def _drop_answered(self) -> None:
        # Entries of answered questions stay until their deadline; keep them from piling up.
        if len(self._deadlines) > 2 * len(self._questions) + 64:
            self._deadlines = [e for e in self._deadlines if e[2] in self._questions]
            heapq.heapify(self._deadlines)
