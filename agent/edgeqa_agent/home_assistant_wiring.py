"""Home Assistant, made of an agent's settings and tied to the parts that it asks."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from structlog.typing import FilteringBoundLogger

from edgeqa.outbox import Outbox
from edgeqa.topics import DeviceTopics
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.evaluation_settings import OFF
from edgeqa_agent.hardware import describe_hardware
from edgeqa_agent.home_assistant import HomeAssistant, Link, Place
from edgeqa_agent.home_assistant_discovery import Shown, discovery_payload, discovery_topic
from edgeqa_agent.home_assistant_figures import HomeFigures
from edgeqa_agent.home_assistant_file import LeftTopics
from edgeqa_agent.selfeval_memory import Memory
from edgeqa_agent.settings import AgentSettings


def home_assistant(
    settings: AgentSettings,
    dispatcher: Dispatcher,
    outbox: Outbox,
    *,
    link: Callable[[], Link],
    answered: Callable[[], int],
    log: FilteringBoundLogger,
) -> HomeAssistant:
    """The device in Home Assistant, also where that is switched off.

    Args:
        settings: of the agent.
        dispatcher: knows the model and its processes.
        outbox: its records are seen.
        link: to the broker; there once the first message comes.
        answered: questions since the start.
        log: of the agent.
    """
    folder, device = settings.resolved_state_dir(), settings.device
    prefix, shown = settings.home_assistant_prefix, settings.home_assistant
    figures = HomeFigures(
        last=Memory(folder, log).last if shown else None,
        model=lambda: dispatcher.model,
        pids=lambda: list(dispatcher.pids),
        answered=answered,
    )
    if shown:
        outbox.on_record = figures.told

    def describe() -> bytes:
        return discovery_payload(
            Shown(
                device=device,
                version=version("edgeqa"),
                hardware=describe_hardware(),
                context_id=settings.home_assistant_context,
                evaluates=settings.evaluation_data != OFF,
                has_temperature=figures.has_temperature,
            )
        )

    return HomeAssistant(
        place=Place(
            discovery=discovery_topic(prefix, device) if shown else None,
            birth=f"{prefix}/status",
            topics=DeviceTopics(device),
            asks=settings.home_assistant_context is not None,
        ),
        describe=describe,
        figures=figures,
        left=LeftTopics(folder, log),
        link=link,
        interval_s=settings.home_assistant_interval_s,
        log=log,
    )
