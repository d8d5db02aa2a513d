"""What the router hands to the dispatcher."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from edgeqa.messages import ModelRef, Quality
from edgeqa_agent.jobs import Outcome, Task, refused

# UTF-8 of this many characters, a few times over, fits into a Unix socket's default buffer; some
# ten windows of a model.
SMALL_CHARS = 10_000


@dataclass(slots=True)
class Request:
    """The questions of one message on their way through the agent.

    Attributes:
        tasks: the questions, their texts at hand.
        stop_at: `time.monotonic()` after which nobody wants the answer.
        complete: called once, with one outcome per task, when inference began, and the model
            that answered.
        quality: which of two models is asked for.
        choice: why it went to its model, where there are two; said before it is complete.
        attempts: how often the model died while it worked on this.
        of_one_lane: for one model process and no other: not asked again when that dies.
        background: gives way to all others, and no model is blamed for the time it takes.
    """

    tasks: list[Task]
    stop_at: float | None
    complete: Callable[[list[Outcome], float, ModelRef | None], None]
    quality: Quality | None = None
    choice: str | None = None
    attempts: int = 0
    of_one_lane: bool = False
    background: bool = False

    def refuse(self, code: str, message: str, model: ModelRef | None) -> None:
        """Complete it with a refusal of each of its questions."""
        self.complete([refused(code, message) for _ in self.tasks], time.monotonic(), model)

    @property
    def small(self) -> bool:
        """Whether it is sent without waiting, and overtakes what is not."""
        return self.size <= SMALL_CHARS

    @property
    def size(self) -> int:
        """Characters in it."""
        return sum(len(task.question) + len(task.context) for task in self.tasks)
