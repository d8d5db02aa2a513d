"""What a device says of itself on its retained status topic."""

from __future__ import annotations

import platform
from importlib.metadata import version

from edgeqa.messages import Status
from edgeqa.packets import Outgoing
from edgeqa.topics import DeviceTopics
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.hardware import describe_hardware
from edgeqa_agent.settings import AgentSettings


class Presence:
    """Writes births, wills and farewells.

    Args:
        settings: of the agent.
        boot_id: of this run.
        dispatcher: knows the model that answers.
    """

    def __init__(self, settings: AgentSettings, *, boot_id: str, dispatcher: Dispatcher) -> None:
        self._settings = settings
        self._boot_id = boot_id
        self._dispatcher = dispatcher
        self._topic = DeviceTopics(settings.device).status

    def online(self) -> Outgoing:
        """That it is there, with the model that answers now."""
        active = self._dispatcher.active
        return self._message(
            status="online",
            agent_version=version("edgeqa"),
            python_version=platform.python_version(),
            onnxruntime_version=active.ready.onnxruntime_version
            if active and active.ready
            else None,
            model=self._dispatcher.model,
            groups=self._settings.groups,
            hardware=describe_hardware(),
        )

    def offline(self, reason: str) -> Outgoing:
        """That it is gone: `lost`, `stopped` or `failed`."""
        return self._message(status="offline", reason=reason)

    def _message(self, **fields: object) -> Outgoing:
        status = Status.model_validate(
            {"device": self._settings.device, "boot_id": self._boot_id, **fields}
        )
        return Outgoing(self._topic, status.to_json(), retain=True)
