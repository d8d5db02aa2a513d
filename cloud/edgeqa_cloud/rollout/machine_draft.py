"""A rollout while a step works on it, and what the step decided so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from edgeqa.messages import ModelRef
from edgeqa_cloud.rollout.model import (
    Decision,
    DeviceNow,
    Facts,
    Member,
    Order,
    Outcome,
    Refusal,
    Rollout,
    Wish,
)
from edgeqa_cloud.rollout.states import SETTLED, MemberState

# Devices by name in one entry of the audit log; `rollout_members` has them all.
_MOST_NAMED = 50


class Draft:
    """Copies members only when the first of them changes.

    Attributes:
        rollout: as it is now, but for `members`.
        members: as they are now.
        version: rises with each change.
    """

    def __init__(self, rollout: Rollout, facts: Facts, *, new_id: Callable[[], str]) -> None:
        self.rollout = rollout
        self.facts = facts
        self.members: Mapping[int, Member] = rollout.members
        self.version = 0
        self._before = rollout
        self._own: dict[int, Member] | None = None
        self._touched: set[int] = set()
        self._new_id = new_id
        self._wishes: list[Wish] = []
        self._decisions: list[Decision] = []
        self._refusals: list[Refusal] = []
        self._noted: dict[tuple[str, str, str], list[str]] = {}

    @property
    def now_ms(self) -> int:
        """The time of the step."""
        return self.facts.now_ms

    def now(self, member: Member) -> DeviceNow | None:
        """A member's device as it was seen."""
        return self.facts.devices.get(member.device_id)

    def set(self, **values: Any) -> None:
        """Change fields of the rollout."""
        self.rollout = replace(self.rollout, **values)
        self.version += 1

    def put(self, member: Member, **values: Any) -> Member:
        """Change a member, or add one; one that settles now gets the time."""
        if "state" in values:
            settled = MemberState(values["state"]) in SETTLED
            values.setdefault("settled_ms", self.now_ms if settled else None)
        member = replace(member, **values)
        if self._own is None:
            self._own = dict(self.members)
            self.members = self._own
        self._own[member.device_id] = member
        self._touched.add(member.device_id)
        self.version += 1
        return member

    def wish(self, member: Member, model: ModelRef | None, *, forward: bool) -> str | None:
        """Make a wish, or take back what stands, where `model` is None; returns its id."""
        wish = None if model is None else self._new_id()
        self._wishes.append(Wish(member.device_id, member.device, wish, model, forward))
        return wish

    def decide(
        self,
        action: str,
        message: str,
        *,
        evidence: Mapping[str, Any] | None = None,
        device: str | None = None,
        actor: str = "engine",
    ) -> None:
        """An entry of the audit log."""
        self.flush()
        self._decisions.append(Decision(action, message, dict(evidence or {}), device, actor))

    def note(self, action: str, member: Member, one: str, many: str) -> None:
        """An entry that devices share.

        Args:
            action: of the entry.
            member: whose device.
            one, many: what is said of one device, and of several: `it …`, `they …`.
        """
        self._noted.setdefault((action, one, many), []).append(member.device)

    def flush(self) -> None:
        """Write down what was noted."""
        noted, self._noted = self._noted, {}
        for (action, one, many), devices in noted.items():
            evidence: dict[str, Any] = {
                "stage": self.rollout.stage,
                "count": len(devices),
                "devices": sorted(devices)[:_MOST_NAMED],
            }
            alone = len(devices) == 1
            self._decisions.append(
                Decision(
                    action,
                    f"1 device {one}" if alone else f"{len(devices):,} devices {many}",
                    evidence,
                    devices[0] if alone else None,
                )
            )

    def refuse(self, order: Order, code: str, message: str) -> None:
        """An order is not obeyed."""
        text = f"{self.rollout.rollout}: {message}"
        self._refusals.append(Refusal(order, code, text))
        evidence = {"code": code, "note": order.note}
        self.decide("order_refused", f"{order.action}: {text}", evidence=evidence,
                    actor=order.actor)  # fmt: skip

    def gates(self) -> Sequence[Mapping[str, Any]]:
        """The gates as judged, for the audit log."""
        return [asdict(one) for one in self.facts.gates]

    def outcome(self) -> Outcome:
        """What follows."""
        self.flush()
        before = self._before.members
        changed = frozenset(
            device_id
            for device_id in self._touched
            if before.get(device_id) != self.members[device_id]
        )
        rollout = self.rollout
        if changed:
            rollout = replace(rollout, members=self.members)
        elif rollout == self._before:
            rollout = self._before
        return Outcome(
            rollout=rollout,
            changed=changed,
            wishes=tuple(self._wishes),
            decisions=tuple(self._decisions),
            refusals=tuple(self._refusals),
        )


def names(model: ModelRef) -> str:
    """A model in a sentence."""
    return f"{model.name} {model.version}"
