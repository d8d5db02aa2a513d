"""Who is in a rollout, and in which turn; and when each stage can begin. Pure.

Stages are cumulative. A stage that names devices has these and no others has them; stages by
percent and count take from the rest, in the order of turns: those that are online first, then by
chance, but the same chance for the same rollout.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from edgeqa.messages import ModelRef
from edgeqa_cloud.rollout.model import Member
from edgeqa_cloud.rollout.plan_checks import (
    RolloutError,
    check_gates,
    check_named,
    check_sizes,
)
from edgeqa_cloud.rollout.spec import RolloutSpec, Stage
from edgeqa_cloud.rollout.windows import next_closing, next_opening

_MINUTE_MS = 60_000
# A timetable ends here: what takes longer is no plan.
_HORIZON_MS = 5 * 366 * 86_400_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A device that a target means.

    Attributes:
        device_id: its key in the database.
        model: that it runs; None where it has told none.
    """

    device_id: int
    device: str
    online: bool
    model: ModelRef | None


@dataclass(frozen=True, slots=True)
class Timetable:
    """When things can happen at the earliest, if all goes well and no device takes any time.

    Attributes:
        begins_ms: when the first device of each stage can get its wish.
        ends_ms: when the last stage's soak can be over.
    """

    begins_ms: Sequence[int]
    ends_ms: int


def assign(spec: RolloutSpec, candidates: Sequence[Candidate], *, rollout: str) -> list[Member]:
    """The members of a rollout in the order of their turns, all waiting.

    A share of devices is rounded to the nearest number, and each stage by percent adds at least
    one device while there are any. Devices that no stage reaches are left out.

    Args:
        spec: as ordered.
        candidates: devices that match the target; each once.
        rollout: its public id, by which devices are shuffled.

    Raises:
        RolloutError: `empty_target`, `stage_outside_target`, `overlapping_stages` or
            `impossible_gates`.
    """
    if not candidates:
        raise RolloutError(
            "no device matches the target; see who would: `edgeqa fleet list`", code="empty_target"
        )
    check_gates(spec)
    by_name = {one.device: one for one in candidates}
    check_named(spec, by_name)
    named = {name for stage in spec.stages for name in stage.devices or ()}
    others = sorted(
        (one for one in candidates if one.device not in named), key=lambda one: _turn(rollout, one)
    )
    check_sizes(spec, _asked(spec, len(candidates)), devices=len(candidates))
    ends = _ends(spec, len(candidates))
    members: list[Member] = []
    taken = 0
    for number, (stage, end) in enumerate(zip(spec.stages, ends, strict=True)):
        own = sorted(
            (by_name[name] for name in stage.devices or ()), key=lambda one: _turn(rollout, one)
        )
        count = end - len(members) - len(own)
        own += others[taken : taken + count]
        taken += count
        members += [
            Member(one.device_id, one.device, number, position)
            for position, one in enumerate(own, len(members))
        ]
    return members


def timetable(spec: RolloutSpec, members: Sequence[Member], now_ms: int) -> Timetable:
    """When each stage can begin at the earliest, by windows, rate and soak.

    Args:
        spec: as ordered.
        members: from `assign`.
        now_ms: when the rollout begins.
    """
    counts = [0] * len(spec.stages)
    for member in members:
        counts[member.stage] += 1
    begins = []
    moment = now_ms
    for stage, count in zip(spec.stages, counts, strict=True):
        if not count:  # is passed at once
            begins.append(moment)
            continue
        begin = next_opening(spec.windows, moment)
        moment = now_ms + _HORIZON_MS if begin is None else begin
        begins.append(moment)
        moment = _all_wished(spec, count, moment, until_ms=now_ms + _HORIZON_MS)
        moment += round(stage.soak_s * 1000)
    return Timetable(begins_ms=begins, ends_ms=moment)


def _all_wished(spec: RolloutSpec, count: int, begin_ms: int, *, until_ms: int) -> int:
    """When the last of so many devices can get its wish, the first of them at `begin_ms`."""
    if spec.max_per_minute is None:
        return begin_ms
    bursts = math.ceil(count / spec.max_per_minute)
    moment = begin_ms
    while moment < until_ms:
        closing = next_closing(spec.windows, moment)
        last = moment + (bursts - 1) * _MINUTE_MS
        if closing is None or last < closing:
            return last
        fit = math.ceil((closing - moment) / _MINUTE_MS)
        bursts -= fit
        # The last one before the window closed still counts when the next opens at once.
        opening = next_opening(spec.windows, moment + fit * _MINUTE_MS)
        if opening is None:
            break
        moment = opening
    return until_ms


def _asked(spec: RolloutSpec, devices: int) -> list[int]:
    """How many devices each stage and those before it would have, as ordered."""
    asked: list[int] = []
    for stage in spec.stages:
        if stage.devices is not None:
            asked.append(max(asked, default=0) + len(stage.devices))
        elif stage.count is not None:
            asked.append(min(stage.count, devices))
        else:
            asked.append(math.ceil(_exact(stage, devices)))
    return asked


def _ends(spec: RolloutSpec, devices: int) -> list[int]:
    """How many devices each stage and those before it have."""
    ends: list[int] = []
    last = 0
    named_later = sum(len(stage.devices or ()) for stage in spec.stages)
    for stage in spec.stages:
        named_later -= len(stage.devices or ())
        # Devices that a later stage names are not this one's.
        most = max(last, devices - named_later)
        if stage.devices is not None:
            last += len(stage.devices)
        elif stage.count is not None:
            last = max(last, min(stage.count, most))
        else:
            nearest = math.floor(_exact(stage, devices) + Fraction(1, 2))
            last = min(max(nearest, last + 1), most)
        ends.append(last)
    return ends


def _exact(stage: Stage, devices: int) -> Fraction:
    """The decimal number as it was written: 7 % of 100 are 7, not 7.000000000000001."""
    return Fraction(str(stage.percent)) * devices / 100


def _turn(rollout: str, one: Candidate) -> tuple[bool, bytes]:
    chance = hashlib.sha256(f"{rollout}/{one.device}".encode()).digest()
    return not one.online, chance
