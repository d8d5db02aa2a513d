"""One model process and the requests that are with it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from edgeqa.messages import ModelRef
from edgeqa_agent.jobs import Done, Job, Ready
from edgeqa_agent.model_process import ModelProcess
from edgeqa_agent.request import Request
from edgeqa_agent.speed import Speed


@dataclass(slots=True, eq=False)
class Lane:
    """A loaded model and what it works on; the dispatcher's lock guards all but the process.

    Attributes:
        ready: what the process said when it was proven; None before.
        running: requests by the number of their job.
        background: the same of those that give way: nothing waits for them, and they may take long.
        oldest_since: `time.monotonic()` since which the process has been at its oldest job.
        dead: the process was proven and has ended.
        speed: what its answers take.
    """

    process: ModelProcess
    ready: Ready | None = None
    running: dict[int, Request] = field(default_factory=dict)
    background: dict[int, Request] = field(default_factory=dict)
    oldest_since: float = 0.0
    dead: bool = False
    speed: Speed = field(default_factory=Speed)

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

    def learn(self, request: Request, done: Done) -> None:
        """A request is done; one in the background tells nothing of the model's speed."""
        if not request.of_one_lane and all(outcome.error is None for outcome in done.outcomes):
            now = time.monotonic()
            self.speed.learn(request.size, 1000 * (now - done.begun_at), now)

    def expected_ms(self, request: Request, now: float) -> float:
        """What a request will take here, once it begins."""
        check_ms = self.ready.scores.p50_ms if self.ready else None
        return self.speed.expect_ms(request.size, now, check_ms=check_ms)

    def hangs(self, timeout_s: float) -> bool:
        """Whether the process is longer at one job than it may be."""
        return bool(self.running) and time.monotonic() - self.oldest_since > timeout_s
