"""What a plan says: who would get what and when, and what is odd about it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgeqa.messages import ModelRef
from edgeqa_cloud import words
from edgeqa_cloud.fleet_views import ModelView
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.rollout.model import Member
from edgeqa_cloud.rollout.spec import AccuracyGate, RolloutSpec
from edgeqa_cloud.rollout.standing import stage_label
from edgeqa_cloud.rollout.views import Plan, PlannedDevice, PlannedStage

# Of a stage, by name.
MAX_SAMPLE = 1000
# Devices and gates by name in one warning.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class DevicePlanned:
    """A device that the plan names, as it is now.

    Attributes:
        asked: questions of its last evaluation; None: it never told one.
        rollout: an active one that it is in too, the newest.
    """

    presence: Presence
    model: ModelRef | None
    asked: int | None
    rollout: str | None


@dataclass(frozen=True, slots=True)
class Drafted:
    """A rollout as it would be made.

    Attributes:
        target: the model.
        members: in the order of their turns.
        devices: each of them by its key.
        matching: devices that match the target.
        begins_ms: when each stage can begin at the earliest.
        ends_ms: when the last one's soak can be over.
    """

    spec: RolloutSpec
    target: ModelRef
    members: Sequence[Member]
    devices: Mapping[int, DevicePlanned]
    matching: int
    begins_ms: Sequence[int]
    ends_ms: int
    now_ms: int


def plan_of(draft: Drafted) -> Plan:
    """The plan of a draft."""
    also = (draft.devices[member.device_id].rollout for member in draft.members)
    overlaps = Counter(rollout for rollout in also if rollout is not None)
    already = sum(_runs_it(draft, member) for member in draft.members)
    return Plan(
        model=ModelView(
            name=draft.target.name, version=draft.target.version, digest=draft.target.digest
        ),
        devices=len(draft.members),
        already=already,
        overlaps=dict(overlaps.most_common()),
        stages=[_stage(draft, number) for number in range(len(draft.spec.stages))],
        earliest_end_ms=draft.ends_ms,
        warnings=list(_warnings(draft, already=already, overlaps=overlaps)),
    )


def _stage(draft: Drafted, number: int) -> PlannedStage:
    stage = draft.spec.stages[number]
    members = _members(draft, number)
    return PlannedStage(
        stage=number,
        label=stage_label(stage),
        soak_s=stage.soak_s,
        devices=len(members),
        online=sum(_presence(draft, one) is Presence.ONLINE for one in members),
        earliest_ms=draft.begins_ms[number],
        sample=[_device(draft, one) for one in members[:MAX_SAMPLE]],
    )


def _device(draft: Drafted, member: Member) -> PlannedDevice:
    now = draft.devices[member.device_id]
    notes = []
    if _runs_it(draft, member):
        notes.append("runs it already")
    if now.rollout is not None:
        notes.append(f"is in {now.rollout} too")
    model = now.model
    return PlannedDevice(
        device=member.device,
        presence=now.presence.value,
        model=None
        if model is None
        else ModelView(name=model.name, version=model.version, digest=model.digest),
        note="; ".join(notes) or None,
    )


def _warnings(draft: Drafted, *, already: int, overlaps: Counter[str]) -> Iterator[str]:
    total = len(draft.members)
    if already == total:
        yield "every device runs this model already: there is nothing to change"
    elif already:
        yield f"{_are(already)} on this model already, and get no wish"
    yield from _stages(draft)
    yield from _presences(draft)
    for rollout, count in overlaps.most_common(_NAMED):
        yield (
            f"{_are(count)} in {rollout} too, which is not over: the newer rollout takes them over "
            "when their turn comes"
        )
    unknown = sum(draft.devices[one.device_id].model is None for one in draft.members)
    if unknown:
        yield (
            f"{unknown:,} of the devices never told which model they run: going back is "
            "possible only once they tell it"
        )
    yield from _gates(draft)


def _stages(draft: Drafted) -> Iterator[str]:
    left = draft.matching - len(draft.members)
    if left > 0:
        last = stage_label(draft.spec.stages[-1])
        yield (
            f"the stages end at {last}: {_are(left)} left as they are; end with percent = 100 to "
            "reach all"
        )
    empty = [
        str(number + 1) for number in range(len(draft.spec.stages)) if not _members(draft, number)
    ]
    if empty:
        many = len(empty) != 1
        yield (
            f"stage{'s' * many} {', '.join(empty)} add{'' if many else 's'} no device: too few "
            "match for so many stages"
        )
    first = len(_members(draft, 0))
    if first == len(draft.members) and len(draft.members) > 1:
        yield "all devices are in the first stage: there is no canary"


def _presences(draft: Drafted) -> Iterator[str]:
    first = _members(draft, 0)
    if first and not any(_presence(draft, one) is Presence.ONLINE for one in first):
        yield (
            "no device of stage 1 is online: nothing begins to soak before one of them is back and "
            "has changed"
        )
    away = sum(_presence(draft, one) is not Presence.ONLINE for one in draft.members)
    if away:
        yield (
            f"{_are(away)} not online: they follow when they are back, or are left out "
            f"{words.span(draft.spec.offline_expire_s)} after their wish"
        )


def _gates(draft: Drafted) -> Iterator[str]:
    gates = draft.spec.gates
    if not any(getattr(gates, name) is not None for name in type(gates).model_fields):
        yield "every gate is off: nothing the devices measure can stop this rollout"
        return
    changing = [one for one in _members(draft, 0) if not _runs_it(draft, one)]
    asked = [draft.devices[one.device_id].asked for one in changing]
    known = [count for count in asked if count]
    for name in ("exact_match", "f1"):
        gate: AccuracyGate | None = getattr(gates, name)
        if gate is None or not changing:
            continue
        end = (
            f"would pause the rollout, undecided, {words.span(draft.spec.evidence_s)} after the "
            "soak"
            if gate.required
            else "would say nothing"
        )
        if not known:
            yield (
                f"gate {name}: no device of stage 1 ever told an evaluation; without one it {end}"
            )
        elif sum(known) < gate.min_questions:
            yield (
                f"gate {name} wants {gate.min_questions:,} different questions, and the devices "
                f"of stage 1 last asked themselves {sum(known):,} together; with so few it {end}: "
                f"make stage 1 larger, or lower gates.{name}.min_questions"
            )


def _members(draft: Drafted, stage: int) -> list[Member]:
    return [one for one in draft.members if one.stage == stage]


def _runs_it(draft: Drafted, member: Member) -> bool:
    model = draft.devices[member.device_id].model
    return model is not None and model.digest == draft.target.digest


def _presence(draft: Drafted, member: Member) -> Presence:
    return draft.devices[member.device_id].presence


def _are(count: int) -> str:
    return f"{count:,} device{'s are' if count != 1 else ' is'}"
