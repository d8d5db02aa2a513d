"""The heartbeat: that the device is there, and up to where the broker has its records.

Sent when a connection stands, and at an interval after that. It is not kept in the outbox, so one
that is lost is lost; the next says more. What it says of the outbox is what makes a loss on the way
visible to the cloud: docs/adr/0009.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from edgeqa.outbox import Outbox, OutboxError
from edgeqa.packets import Outgoing
from edgeqa.telemetry_messages import MAX_RANGES, BootRange, Heartbeat
from edgeqa.topics import DeviceTopics

# A collector that was begun with an empty database, or lost a message, knows what is held an hour
# later at the latest.
BOOTS_EVERY_S = 3600.0
# Told of after a connect, in several messages; an agent that is restarted every minute for a day
# has as many.
MAX_BOOTS = 1440


class Heart:
    """Writes heartbeats.

    Args:
        outbox: whose state is told.
        interval_s: the device promises another one after so long.
        log: for what cannot be told.
        wall_ms: device time, milliseconds since 1970.
        now: seconds, never set back.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        interval_s: float,
        log: FilteringBoundLogger,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._interval_s = interval_s
        self._wall_ms = wall_ms
        self._now = now
        self._log = log
        self._topic = DeviceTopics(outbox.device).heartbeat
        self._seq = 0
        self._next_at = 0.0
        self._boots_at = -math.inf
        self._told: dict[str, int] = {}
        self._fresh = True

    def connected(self) -> None:
        """A new connection: the next one is due at once, and says all."""
        self._fresh = True

    def wait_s(self) -> float:
        """Until the next is due; 0 if it is."""
        return 0.0 if self._fresh else max(0.0, self._next_at - self._now())

    def beat(self) -> list[Outgoing]:
        """What is to be sent now: one message, more where many boots are to be told of."""
        now = self._now()
        boots = self._boots(now)
        self._next_at = now + self._interval_s
        self._fresh = False
        parts = [boots[at : at + MAX_RANGES] for at in range(0, len(boots), MAX_RANGES)]
        return [self._message(part) for part in parts or [[]]]

    def _boots(self, now: float) -> list[BootRange]:
        """What to tell of the outbox; between the hours, of earlier boots of which more was sent.

        The rest of this boot is in `seq`.
        """
        try:
            self._seq = self._outbox.acknowledged
            held = self._outbox.held()
        except OutboxError as error:
            self._log.error("outbox_unusable", code=error.code, reason=str(error))
            return []
        if self._fresh:
            boots = held[:MAX_BOOTS]
        elif now - self._boots_at >= BOOTS_EVERY_S:
            boots = held[:MAX_RANGES]
        else:
            earlier = [one for one in held if one.boot_id != self._outbox.boot_id]
            boots = [one for one in earlier if self._told.get(one.boot_id) != one.last]
            return self._noted(boots[:MAX_RANGES], held)
        self._boots_at = now
        return self._noted(boots, held)

    def _noted(self, boots: list[BootRange], held: list[BootRange]) -> list[BootRange]:
        told = self._told | {one.boot_id: one.last for one in boots}
        self._told = {one.boot_id: told[one.boot_id] for one in held if one.boot_id in told}
        return boots

    def _message(self, boots: list[BootRange]) -> Outgoing:
        heartbeat = Heartbeat(
            device=self._outbox.device,
            boot_id=self._outbox.boot_id,
            time_ms=max(0, self._wall_ms()),
            uptime_ms=self._outbox.uptime_ms(),
            interval_s=self._interval_s,
            seq=self._seq,
            boots=boots or None,
        )
        # One that a broker kept for an absent collector says nothing that the next does not say.
        expiry_s = math.ceil(self._interval_s)
        return Outgoing(self._topic, heartbeat.to_json(), expiry_s=expiry_s)
