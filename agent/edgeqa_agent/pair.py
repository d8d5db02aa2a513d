"""The lanes that questions go to: that of the active model, and that of its companion, if any.

Thread: the dispatcher's lock guards all of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgeqa.choice_reason import Reason
from edgeqa_agent.choice import Limits, Pressure, Times, choose
from edgeqa_agent.lane import Lane
from edgeqa_agent.request import Request


class Pair:
    """One or two lanes, and the choice between them.

    Args:
        threads: of each model.
        limits: of the choice; None: this device has no companion, and makes none.

    Attributes:
        active: of the model that the fleet wishes for; None while there is none.
        companion: of the quicker model beside it; None while there is none.
        celsius: temperature of the processor, as it was told last.
    """

    def __init__(self, *, threads: int, limits: Limits | None) -> None:
        self.active: Lane | None = None
        self.companion: Lane | None = None
        self.celsius: float | None = None
        self._threads = threads
        self._limits = limits
        self._pressure = Pressure()

    @property
    def lanes(self) -> list[Lane]:
        """Those there are."""
        return [lane for lane in (self.active, self.companion) if lane is not None]

    def running(self) -> Iterator[Request]:
        """Requests that the models have."""
        return (request for lane in self.lanes for request in lane.running.values())

    def lost(self, lane: Lane) -> bool:
        """Take out a lane whose process died; whether it was one of these."""
        if lane is self.active:
            self.active = None
        elif lane is self.companion:
            self.companion = None
        else:
            return False
        return True

    def look(self, now: float, *, depth: int) -> None:
        """Note how many requests wait and run."""
        if self._limits is not None:
            self._pressure = self._pressure.at(now, self._limits, depth=depth, celsius=self.celsius)

    def pick(self, request: Request, now: float, *, depth: int) -> Lane:
        """The lane for a request, which learns why; there must be one."""
        self.look(now, depth=depth)
        active, companion = self.active, self.companion
        if active is None or companion is None or active.model == companion.model:
            lane = active or companion
            assert lane is not None  # noqa: S101  the caller asked before
            request.choice = None if self._limits is None else Reason.ALONE
            return lane
        times = None
        if request.stop_at is not None:
            times = Times(
                wanted=1000 * (request.stop_at - now),
                better=self._expected_ms(active, request, now),
                quicker=self._expected_ms(companion, request, now),
            )
        quick, request.choice = choose(self._pressure, quality=request.quality, times=times)
        return companion if quick else active

    def _expected_ms(self, lane: Lane, request: Request, now: float) -> float:
        """Until a lane would have the answer: its other requests share its threads before."""
        before = sum(lane.expected_ms(other, now) for other in lane.running.values())
        return before / self._threads + lane.expected_ms(request, now)
