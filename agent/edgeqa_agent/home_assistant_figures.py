"""The figures that Home Assistant shows, taken from what the agent knows anyway.

EM, F1 and latency are those of the newest records of the outbox; the rest is looked at when it is
wanted. Nothing is measured for this.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from edgeqa.home_assistant_messages import HomeState
from edgeqa.messages import ModelRef
from edgeqa.telemetry_messages import Evaluation, Record, Telemetry
from edgeqa_agent.memory import resident_bytes
from edgeqa_agent.probes import temperature_celsius
from edgeqa_agent.selfeval_memory import Result

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class _Scores:
    digest: str
    exact_match: float
    f1: float


class HomeFigures:
    """Keeps the newest figures.

    Args:
        last: evaluation of an earlier start, where there is one.
        model: that answers now.
        pids: of model processes.
        answered: questions since the start.
        celsius: temperature of the processor.
    """

    def __init__(
        self,
        *,
        last: Result | None,
        model: Callable[[], ModelRef | None],
        pids: Callable[[], list[int]],
        answered: Callable[[], int],
        celsius: Callable[[], float | None] = temperature_celsius,
    ) -> None:
        self._model = model
        self._pids = pids
        self._answered = answered
        self._celsius = celsius
        self._scores = None if last is None else _scores_of(last)
        self._p95_ms: float | None = None

    @property
    def has_temperature(self) -> bool:
        """Whether the device measures it."""
        return self._celsius() is not None

    def told(self, record: Record) -> None:
        """A record was kept. Thread: whoever keeps one."""
        if isinstance(record, Evaluation):
            self._scores = _Scores(record.model.digest, record.exact_match, record.f1)
        elif isinstance(record, Telemetry) and record.latency and record.latency.total:
            self._p95_ms = record.latency.total.quantile(0.95)

    def state(self) -> HomeState:
        """As it is now."""
        model, scores, p95_ms = self._model(), self._scores, self._p95_ms
        celsius = self._celsius()
        # After a swap the old model's scores say nothing of the new one.
        known = scores is not None and model is not None and scores.digest == model.digest
        resident = sum(resident_bytes(pid) for pid in [os.getpid(), *self._pids()])
        return HomeState(
            exact_match=round(scores.exact_match, 2) if scores and known else None,
            f1=round(scores.f1, 2) if scores and known else None,
            latency_p95_ms=None if p95_ms is None else round(p95_ms, 1),
            temperature_celsius=None if celsius is None else round(celsius, 1),
            memory_mib=round(resident / _MIB),
            answered=self._answered(),
            model=f"{model.name} {model.version}" if model else None,
        )


def _scores_of(result: Result) -> _Scores:
    return _Scores(
        digest=result.model.digest,
        exact_match=100 * result.exact.count("1") / len(result.exact),
        f1=100 * sum(result.f1) / len(result.f1),
    )
