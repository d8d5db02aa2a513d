"""Ties the telemetry loop to the parts of an agent that it asks."""

from __future__ import annotations

import os
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from edgeqa.mqtt import MqttLink
from edgeqa.outbox import Outbox
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.meter import Meter
from edgeqa_agent.settings import AgentSettings
from edgeqa_agent.telemetry import Schedule, Sources, TelemetryLoop
from edgeqa_agent.vitals import Vitals


class Evaluating(Protocol):
    """The part of self-evaluation that telemetry needs."""

    @property
    def pids(self) -> list[int]:
        """Of processes that it has at work."""


def telemetry_loop(
    settings: AgentSettings,
    dispatcher: Dispatcher,
    evaluating: Evaluating,
    meter: Meter,
    link: MqttLink,
    *,
    outbox: Outbox,
    log: FilteringBoundLogger,
) -> TelemetryLoop:
    """A loop that tells of these parts; not started.

    Args:
        settings: of the agent.
        dispatcher: knows the model and its processes.
        evaluating: has a process at times.
        meter: counts the questions.
        link: counts the connections to the broker.
        outbox: takes the records.
        log: of the agent.
    """

    def processes() -> list[tuple[str, int]]:
        return [
            ("agent", os.getpid()),
            *(("model", pid) for pid in dispatcher.pids),
            *(("evaluation", pid) for pid in evaluating.pids),
        ]

    return TelemetryLoop(
        sources=Sources(
            take=meter.take,
            model=lambda: dispatcher.model,
            companion=lambda: dispatcher.companion_model,
            connects=lambda: link.connects,
            processes=processes,
            outbox=outbox.state,
        ),
        vitals=Vitals(state_dir=settings.resolved_state_dir()),
        schedule=Schedule(
            interval_s=settings.telemetry_interval_s,
            idle_interval_s=settings.telemetry_idle_interval_s,
        ),
        append=outbox.append,
        log=log,
    )
