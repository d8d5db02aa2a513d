"""A fleet of devices and a broker as the state machine of rollouts meets them: without any IO."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

from edgeqa.messages import ModelRef
from edgeqa.model_messages import ModelState
from edgeqa_cloud.rollout.machine import step
from edgeqa_cloud.rollout.model import (
    DeviceNow,
    Facts,
    GateResult,
    Joiner,
    Member,
    Order,
    Outcome,
    Report,
    Rollout,
    Wish,
)
from edgeqa_cloud.rollout.states import MemberState

OLD = ModelRef(name="bert", version="1.0.0", digest="sha256:" + "0" * 64)
NEW = ModelRef(name="mini", version="2.0.0", digest="sha256:" + "1" * 64)
OTHER = ModelRef(name="other", version="3.0.0", digest="sha256:" + "2" * 64)
_ENDS = {ModelState.ACTIVE, ModelState.FAILED, ModelState.ROLLED_BACK}
_NOT_OURS = {MemberState.WAITING, MemberState.UNTOUCHED, MemberState.SUPERSEDED}


@dataclass
class Device:
    """One that follows wishes as the agent does: each once, the newest one, and proves it.

    Attributes:
        died: what it was sent to last left it again.
        followed: the wish that it followed last, and how that ended.
        retained: what the broker keeps for it.
        unsent: its last report, where it is not connected.
    """

    device_id: int
    online: bool = True
    active: ModelRef = OLD
    previous: ModelRef | None = None
    followed: tuple[str, ModelState, ModelRef] | None = None
    retained: Wish | None = None
    tells: bool = True
    last: Report | None = None
    unsent: Report | None = None
    past: list[Report] = field(default_factory=list)
    taken_by: str | None = None
    died: bool = False

    @property
    def name(self) -> str:
        """As the broker knows it."""
        return f"d{self.device_id}"

    @property
    def pending(self) -> bool:
        """Whether there is a wish that it has not followed."""
        wish = self.retained
        if wish is None or wish.wish is None:
            return False
        return self.followed is None or self.followed[0] != wish.wish

    def follow(self, now_ms: int, *, fails: bool = False) -> None:
        """Follow what is retained, to the end."""
        if not self.online or not self.pending:
            return
        wish = self.retained
        assert wish is not None
        assert wish.wish is not None
        assert wish.model is not None
        if fails:
            self.followed = wish.wish, ModelState.FAILED, wish.model
            self._report(now_ms, ModelState.FAILED, wish.wish)
            return
        if self.active != wish.model:
            self.previous, self.active = self.active, wish.model
            self.died = False
        self.followed = wish.wish, ModelState.ACTIVE, wish.model
        self._report(now_ms, ModelState.ACTIVE, wish.wish)

    def begin(self, now_ms: int) -> None:
        """Fetch what is retained, and no more."""
        if self.online and self.pending:
            assert self.retained is not None
            self._report(now_ms, ModelState.FETCHING, self.retained.wish)

    def die(self, now_ms: int) -> None:
        """The model keeps dying: the one before serves again."""
        if self.previous is None:
            return
        wish = self._own_wish()
        self.died = True
        self.active, self.previous = self.previous, None
        if self.followed is not None:
            self.followed = self.followed[0], ModelState.ROLLED_BACK, self.followed[2]
        self._report(now_ms, ModelState.ROLLED_BACK, wish)

    def restart(self, now_ms: int) -> None:
        """Report what serves, and how the retained wish ended if it was followed."""
        self._report(now_ms, ModelState.ACTIVE, self._own_wish())
        if self.followed is not None and self.retained is not None:
            wish, state, _ = self.followed
            if state is not ModelState.ACTIVE and self.retained.wish == wish:
                self._report(now_ms, state, wish)

    def connect(self, now_ms: int, online: bool) -> None:
        """Come or go; at each connect it reports anew."""
        came = online and not self.online
        self.online = online
        report = self.unsent or self.last
        if came and report is None:
            self.restart(now_ms)
        elif came and report is not None:
            report = self.past[-1] if self.unsent is None else self.unsent
            self._send(replace(report, received_ms=now_ms))
            self.unsent = None

    def replay(self, report: Report, now_ms: int) -> None:
        """Somebody publishes one of its earlier reports again."""
        self.last = replace(report, received_ms=now_ms)

    def _own_wish(self) -> str | None:
        if self.followed is None or self.followed[1] is not ModelState.ACTIVE:
            return None
        return self.followed[0] if self.followed[2] == self.active else None

    def _report(self, now_ms: int, state: ModelState, wish: str | None) -> None:
        code = None if state is ModelState.ACTIVE else "checks_failed"
        report = Report(state, wish, self.active, self.previous, code, code, now_ms)
        if self.online:
            self._send(report)
        else:
            self.unsent = report

    def _send(self, report: Report) -> None:
        self.last = report
        self.tells = True
        self.past.append(report)


class Fleet:
    """Devices, a broker, a clock, and one rollout that is steered as the engine does it."""

    def __init__(self, rollout: Rollout, devices: dict[int, Device], now_ms: int = 10**9) -> None:
        self.rollout = rollout
        self.devices = devices
        self.now_ms = now_ms
        self.gates: tuple[GateResult, ...] = ()
        self.unpublished: list[Wish] = []
        self.made: list[tuple[int, Wish]] = []
        self.outcomes: list[Outcome] = []
        self._ids = itertools.count(1)

    def facts(
        self,
        *,
        orders: tuple[Order, ...] = (),
        joiners: tuple[Joiner, ...] = (),
        turns: int | None = None,
    ) -> Facts:
        """What the engine would see."""
        found = {}
        for device_id, device in self.devices.items():
            member = self.rollout.members.get(device_id)
            if member is None:
                continue
            if member.state is MemberState.WAITING:
                if turns is not None and turns <= 0:
                    continue
                turns = None if turns is None else turns - 1
            self._notice_strangers(device, member)
            found[device_id] = DeviceNow(
                online=device.online,
                model=device.active if device.tells else None,
                report=device.last,
                taken_by=device.taken_by,
            )
        return Facts(self.now_ms, found, self.gates, orders, joiners)

    def step(
        self,
        *orders: Order,
        joiners: tuple[Joiner, ...] = (),
        turns: int | None = None,
        written: bool = True,
    ) -> Outcome:
        """One look; `written` False: the process ended before the transaction."""
        facts = self.facts(orders=orders, joiners=joiners, turns=turns)
        outcome = step(self.rollout, facts, new_id=self.new_id)
        again = step(
            outcome.rollout, replace(facts, orders=(), joiners=joiners), new_id=self.new_id
        )
        assert again.rollout is outcome.rollout, (again.decisions, again.changed)
        assert not (again.changed)
        assert not (again.wishes)
        assert not (again.decisions)
        assert not (again.refusals)
        if written:
            self.rollout = outcome.rollout
            self.unpublished += outcome.wishes
            self.made += [(self.now_ms, wish) for wish in outcome.wishes]
            self.outcomes.append(outcome)
        return outcome

    def new_id(self) -> str:
        """Of a wish."""
        return f"w{next(self._ids)}"

    def publish(self, most: int | None = None, *, marked: bool = True) -> None:
        """Retain wishes in their order; not `marked`: the process ended before it noted that."""
        wishes = self.unpublished[:most]
        for wish in wishes:
            device = self.devices[wish.device_id]
            # A foreign wish came later, or a newer rollout's: the deployer's newest row wins.
            if device.taken_by is None:
                device.retained = wish
                if wish.wish is None and device.online:
                    device.restart(self.now_ms)
        if marked:
            del self.unpublished[: len(wishes)]

    def swap(self, device: Device) -> None:
        """Somebody wishes for a model by hand, or a newer rollout does."""
        wish = f"x-{next(self._ids)}"
        device.retained = Wish(device.device_id, device.name, wish, OTHER, True)

    def settle(self) -> None:
        """Everything is published, everybody is there and does what it is told."""
        self.publish()
        for device in self.devices.values():
            device.connect(self.now_ms, True)
            device.follow(self.now_ms)

    def members(self, *states: MemberState) -> list[str]:
        """Devices in some states."""
        found = (one for one in self.rollout.members.values() if one.state in states)
        return sorted(one.device for one in found)

    def _notice_strangers(self, device: Device, member: Member) -> None:
        report = device.last
        turn_ms = member.reverting_ms or member.wished_ms or member.settled_ms
        if (
            report is not None
            and report.wish is not None
            and report.wish.startswith("x-")
            and report.state in _ENDS
            and member.state not in _NOT_OURS
            and turn_ms is not None
            and report.received_ms > turn_ms
        ):
            device.taken_by = f"the wish {report.wish}"
