"""Final states of models as records of the outbox: each once, however often it is reported."""

from __future__ import annotations

import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import EdgeqaError
from edgeqa.messages import ModelRef
from edgeqa.model_messages import ModelState, Reported
from edgeqa.outbox import Outbox
from edgeqa.telemetry_messages import SwapReport

_FINAL = {ModelState.ACTIVE, ModelState.FAILED, ModelState.ROLLED_BACK}


class SwapHistory:
    """Listens to reports.

    A report is repeated at each connect and each start of the agent, and lost when the agent dies
    before it was sent. So the outbox remembers of what happened that it has it, and not this class.

    Args:
        outbox: takes the records.
        log: for what it does not take.
        now: seconds, never set back.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        log: FilteringBoundLogger,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._log = log
        self._now = now
        self._taken: tuple[str, float] | None = None

    def told(self, report: Reported) -> None:
        """A state was reported."""
        if report.state not in _FINAL:
            if report.wish and (self._taken is None or self._taken[0] != report.wish):
                self._taken = (report.wish, self._now())
            return
        fields = {
            "state": str(report.state),
            "name": report.name,
            "version": report.version,
            "digest": report.digest,
            "wish": report.wish,
            "rollout": report.rollout,
            "reason": report.reason,
            "active": _model(report.active),
            "previous": _model(report.previous),
            "checks": report.checks,
            "duration_ms": self._duration_ms(report),
        }
        key = _key(report)
        try:
            if key is None:
                self._outbox.append(SwapReport, **fields)
            else:
                self._outbox.append_once(key, SwapReport, **fields)
        except EdgeqaError as error:
            self._log.error("swap_not_recorded", code=error.code, reason=str(error))

    def _duration_ms(self, report: Reported) -> float | None:
        if self._taken is None or self._taken[0] != report.wish:
            return None
        return round(1000 * (self._now() - self._taken[1]), 1)


def _key(report: Reported) -> str | None:
    """What happened; None where each report is of another event."""
    if report.wish is not None:  # a wish is followed once, and what became of it told again
        return f"{report.state}:{report.wish}"
    if report.state is ModelState.ACTIVE:  # nobody wished for it: told at each start
        return f"active:{report.digest}"
    return None


def _model(ref: ModelRef | None) -> dict[str, str] | None:
    return ref.model_dump() if ref else None
