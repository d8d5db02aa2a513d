"""Ties the telemetry loop to the parts of an agent that it asks."""

from __future__ import annotations

import os

from structlog.typing import FilteringBoundLogger

from edgeqa.mqtt import MqttLink
from edgeqa.outbox import Outbox
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.meter import Meter
from edgeqa_agent.settings import AgentSettings
from edgeqa_agent.telemetry import Schedule, Sources, TelemetryLoop
from edgeqa_agent.vitals import Vitals


def telemetry_loop(
    settings: AgentSettings,
    *,
    dispatcher: Dispatcher,
    meter: Meter,
    link: MqttLink,
    outbox: Outbox,
    log: FilteringBoundLogger,
) -> TelemetryLoop:
    """A loop that tells of these parts; not started.

    Args:
        settings: of the agent.
        dispatcher: knows the model and its processes.
        meter: counts the questions.
        link: counts the connections to the broker.
        outbox: takes the records.
        log: of the agent.
    """

    def processes() -> list[tuple[str, int]]:
        return [("agent", os.getpid()), *(("model", pid) for pid in dispatcher.pids)]

    return TelemetryLoop(
        sources=Sources(
            take=meter.take,
            model=lambda: dispatcher.model,
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
