"""The messages of a simulated device that are no records: presence, heartbeat, report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgeqa.messages import Hardware, ModelRef, Status
from edgeqa.model_messages import Reported
from edgeqa.packets import Outgoing
from edgeqa.telemetry_messages import BootRange, Heartbeat
from edgeqa.topics import DeviceTopics


class Voice:
    """Words of one start of one device.

    Args:
        topics: of the device.
        boot_id: of its start.
        version: of the software.
        memory_bytes: of the board.
        wall_ms: its clock.
        uptime_ms: since its start.
    """

    def __init__(
        self,
        *,
        topics: DeviceTopics,
        boot_id: str,
        version: str,
        memory_bytes: int,
        wall_ms: Callable[[], int],
        uptime_ms: Callable[[], int],
    ) -> None:
        self._topics = topics
        self._boot_id = boot_id
        self._version = version
        self._memory_bytes = memory_bytes
        self._wall_ms = wall_ms
        self._uptime_ms = uptime_ms

    def online(self, model: ModelRef) -> Outgoing:
        """The birth."""
        hardware = Hardware(
            machine="aarch64",
            board="Raspberry Pi 5 (simulated)",
            cpus=4,
            memory_bytes=self._memory_bytes,
        )
        return self._status(
            status="online",
            agent_version=self._version,
            model=model,
            groups=[],
            hardware=hardware,
        )

    def offline(self, reason: str) -> Outgoing:
        """The will, and the farewell."""
        return self._status(status="offline", reason=reason)

    def heartbeat(
        self, *, interval_s: float, acknowledged: int, boots: list[BootRange] | None
    ) -> Outgoing:
        """That it lives, and what the broker has of it."""
        beat = Heartbeat(
            device=self._topics.device,
            boot_id=self._boot_id,
            time_ms=self._wall_ms(),
            uptime_ms=self._uptime_ms(),
            interval_s=interval_s,
            seq=acknowledged,
            boots=boots,
        )
        return Outgoing(self._topics.heartbeat, beat.to_json())

    def report(
        self, active: ModelRef, previous: ModelRef | None, fields: Mapping[str, Any]
    ) -> Outgoing:
        """Where it stands with a wish."""
        report = Reported(
            device=self._topics.device,
            boot_id=self._boot_id,
            time_ms=self._wall_ms(),
            active=active,
            previous=previous,
            **fields,
        )
        return Outgoing(self._topics.reported, report.to_json(), retain=True)

    def _status(self, **fields: Any) -> Outgoing:
        status = Status.model_validate(
            {"device": self._topics.device, "boot_id": self._boot_id, **fields}
        )
        return Outgoing(self._topics.status, status.to_json(), retain=True)
