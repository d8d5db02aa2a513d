"""What surrounds a simulated device: the parts that all share, and its clocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgeqa.commands import unix_ms
from edgeqa_cloud.simulate.counters import Counters
from edgeqa_cloud.simulate.dial import Network
from edgeqa_cloud.simulate.mailbox import MailRoom
from edgeqa_cloud.simulate.models import Models, SimulatedModel
from edgeqa_cloud.simulate.settings import SimulateSettings


@dataclass(frozen=True, slots=True)
class World:
    """What all devices share."""

    settings: SimulateSettings
    network: Network
    mail_room: MailRoom
    first: SimulatedModel
    models: Models
    counters: Counters
    version: str


class Clocks:
    """The wall clock of one device, which may be wrong, and the time since its start.

    Args:
        monotonic: seconds that never go back.
        right_ms: the right time, milliseconds since 1970.
    """

    def __init__(
        self, *, monotonic: Callable[[], float], right_ms: Callable[[], int] = unix_ms
    ) -> None:
        self._monotonic = monotonic
        self._right_ms = right_ms
        self._started_at = monotonic()
        self._jumped_ms = 0

    def jump(self, by_s: float) -> None:
        """Somebody sets the wall clock; the time since the start is what it was."""
        self._jumped_ms += round(1000 * by_s)

    def wall_ms(self) -> int:
        """Milliseconds since 1970, before which there is no time."""
        return max(0, self._right_ms() + self._jumped_ms)

    def uptime_ms(self) -> int:
        """Since the start."""
        return int(1000 * (self._monotonic() - self._started_at))
