"""What the router hands to the dispatcher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from edgeqa_agent.jobs import Outcome, Task


@dataclass(slots=True)
class Request:
    """The questions of one message on their way through the agent.

    Attributes:
        tasks: the questions, their texts at hand.
        stop_at: `time.monotonic()` after which nobody wants the answer.
        complete: called once, with one outcome per task and when inference began.
    """

    tasks: list[Task]
    stop_at: float | None
    complete: Callable[[list[Outcome], float], None]
    attempts: int = field(default=0)

    @property
    def size(self) -> int:
        """Characters in it."""
        return sum(len(task.question) + len(task.context) for task in self.tasks)
