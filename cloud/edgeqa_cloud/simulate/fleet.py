"""The simulated fleet as a whole: made, started, disturbed as the faults say, and ended."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

from edgeqa.broker import resolve_broker
from edgeqa.errors import BrokerError
from edgeqa_cloud.simulate.counters import Counters
from edgeqa_cloud.simulate.descriptors import make_room
from edgeqa_cloud.simulate.device import Device
from edgeqa_cloud.simulate.dial import Network
from edgeqa_cloud.simulate.loop import EventLoop
from edgeqa_cloud.simulate.mailbox import MailRoom
from edgeqa_cloud.simulate.models import known_models
from edgeqa_cloud.simulate.settings import SimulateSettings
from edgeqa_cloud.simulate.world import World

# To say `offline` and close, for all devices together.
_END_S = 10.0
# And for those that are cut off then.
_CUT_S = 1.0
# A clock jumps somewhere in the first half of a run, but not later than this.
_JUMPS_WITHIN_S = 600.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The fleet at a moment.

    Attributes:
        seconds: since the start.
        waiting: records that the broker has not acknowledged.
        outstanding: records that a fault lost each time they were sent so far.
    """

    seconds: float
    devices: int
    connected: int
    waiting: int
    outstanding: int
    counters: Counters

    def as_dict(self) -> dict[str, Any]:
        """For JSON and logs."""
        own = {name: getattr(self, name) for name in ("devices", "connected", "waiting")}
        return {
            "seconds": round(self.seconds, 1),
            **own,
            "outstanding": self.outstanding,
            **asdict(self.counters),
        }


class Fleet:
    """All devices. `run` blocks until the time is over or `stop`.

    Args:
        settings: of the simulation.
        loop: drives all devices.
        mail_room: keeps their outboxes.
    """

    def __init__(
        self,
        *,
        settings: SimulateSettings,
        loop: EventLoop,
        mail_room: MailRoom,
        counters: Counters,
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._mail_room = mail_room
        self._counters = counters
        self._devices: list[Device] = []
        self._resting = self._ending = False
        self._began = loop.clock()

    def start(self) -> None:
        """Make the devices and connect the first.

        Raises:
            ConfigError: too many devices for this process, or a file cannot be read.
            BrokerError: no device is connected in the broker's `connect_timeout_s`.
        """
        settings = self._settings
        make_room(settings.devices)
        broker = resolve_broker(settings)
        first, models = known_models(settings.models)
        world = World(
            settings=settings,
            network=Network.to(broker, loop=self._loop, connect_rate=settings.connect_rate),
            mail_room=self._mail_room,
            first=first,
            models=models,
            counters=self._counters,
            version=version("edgeqa"),
        )
        self._began = self._loop.clock()
        for number in range(1, settings.devices + 1):
            device = Device(name=settings.device(number), world=world)
            self._devices.append(device)
            device.start()
            self._disturb(device)
        self._loop.run(until=self._any_connected, timeout_s=broker.connect_timeout_s)
        if not self._any_connected() and not self._loop.stopped:
            why = next(
                (d.connection.refusal for d in self._devices if d.connection.refusal), "no answer"
            )
            raise BrokerError(
                f"broker at {broker.host}:{broker.port}: no device gets a connection: {why}; check "
                "that it runs, and the address, credentials and access rules"
            )

    def run(self) -> None:
        """Let the fleet live for `duration_s`, then rest until all is sent, `settle_s` at most."""
        settings = self._settings
        left_s = None
        if settings.duration_s:
            left_s = max(0.0, settings.duration_s - (self._loop.clock() - self._began))
        self._loop.run(timeout_s=left_s)
        if settings.settle_s and not self._loop.stopped:
            self._rest()
            self._loop.run(until=self._settled, timeout_s=settings.settle_s)

    def end(self) -> None:
        """Say `offline` for all, and wait a bounded time until they are gone."""
        self._rest()
        self._ending = True
        self._loop.resume()
        for device in self._devices:
            device.leave()
        self._loop.run(until=lambda: not self._any_connected(), timeout_s=_END_S)
        for device in self._devices:
            device.connection.close()
        self._loop.run(until=lambda: not self._any_connected(), timeout_s=_CUT_S)

    def snapshot(self) -> Snapshot:
        """How the fleet is."""
        return Snapshot(
            seconds=self._loop.clock() - self._began,
            devices=len(self._devices),
            connected=sum(device.connection.connected for device in self._devices),
            waiting=self._mail_room.waiting(),
            outstanding=sum(device.outstanding for device in self._devices),
            counters=replace(self._counters),
        )

    def _rest(self) -> None:
        self._resting = True
        for device in self._devices:
            device.rest()

    def _settled(self) -> bool:
        return not (self._mail_room.waiting() or any(d.outstanding for d in self._devices))

    def _any_connected(self) -> bool:
        return any(device.connection.connected for device in self._devices)

    def _disturb(self, device: Device) -> None:
        settings = self._settings
        # One stream a fault: switching one on does not move the others.
        jumps = random.Random(f"{settings.seed}/{device.name}/clock")  # noqa: S311  no secret
        if jumps.random() < settings.clock_jump:
            within_s = min(_JUMPS_WITHIN_S, (settings.duration_s or _JUMPS_WITHIN_S * 2) / 2)
            by_s = settings.clock_jump_s * jumps.choice((-1, 1)) * jumps.uniform(0.5, 1.0)
            self._loop.call_later(jumps.uniform(0, within_s), lambda: self._jump(device, by_s))
        if settings.offline:
            spells = random.Random(f"{settings.seed}/{device.name}/offline")  # noqa: S311  no secret
            self._loop.call_later(self._online_s(spells), lambda: self._pull(device, spells))

    def _jump(self, device: Device, by_s: float) -> None:
        self._counters.jumped += 1
        device.jump(by_s)

    def _pull(self, device: Device, rng: random.Random) -> None:
        if self._resting:
            return
        self._counters.spells += 1
        device.connection.drop()
        spell_s = rng.expovariate(1.0 / self._settings.offline_spell_s)
        self._loop.call_later(spell_s, lambda: self._plug_in(device, rng))

    def _plug_in(self, device: Device, rng: random.Random) -> None:
        if self._ending:
            return
        device.connection.open()
        self._loop.call_later(self._online_s(rng), lambda: self._pull(device, rng))

    def _online_s(self, rng: random.Random) -> float:
        share = self._settings.offline
        return rng.expovariate(share / ((1.0 - share) * self._settings.offline_spell_s))
