"""One model process and the requests that are with it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from edgeqa.messages import ModelRef
from edgeqa_agent.jobs import Job, Ready
from edgeqa_agent.model_process import ModelProcess
from edgeqa_agent.request import Request


@dataclass(slots=True, eq=False)
class Lane:
    """A loaded model and what it works on; the dispatcher's lock guards all but the process.

    Attributes:
        ready: what the process said when it was proven; None before.
        running: requests by the number of their job.
        background: the same of those that give way: nothing waits for them, and they may take long.
        oldest_since: `time.monotonic()` since which the process has been at its oldest job.
        dead: the process was proven and has ended.
    """

    process: ModelProcess
    ready: Ready | None = None
    running: dict[int, Request] = field(default_factory=dict)
    background: dict[int, Request] = field(default_factory=dict)
    oldest_since: float = 0.0
    dead: bool = False

    @property
    def model(self) -> ModelRef:
        """How answers name its package."""
        return self.process.package.ref

    def begin(self, number: int, request: Request) -> None:
        """Count a request as running here."""
        if request.background:
            self.background[number] = request
            return
        if not self.running:
            self.oldest_since = time.monotonic()
        self.running[number] = request

    def end(self, number: int) -> Request | None:
        """Take a request that is done; None where it was taken before."""
        if number in self.background:
            return self.background.pop(number)
        self.oldest_since = time.monotonic()
        return self.running.pop(number, None)

    def abandon(self, *, background_only: bool = False) -> list[Request]:
        """Take what will not be done here any more, in its order."""
        left = [*self.background.values()]
        self.background.clear()
        if not background_only:
            left += [self.running[number] for number in sorted(self.running)]
            self.running.clear()
        return left

    def send(self, number: int, request: Request) -> None:
        """Hand a request that was begun to the process."""
        self.process.submit(Job(number, request.tasks, request.stop_at, request.background))

    def hangs(self, timeout_s: float) -> bool:
        """Whether the process is longer at one job than it may be."""
        return bool(self.running) and time.monotonic() - self.oldest_since > timeout_s
