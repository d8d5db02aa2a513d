"""What a plan says, and what it warns of. Pure."""

from __future__ import annotations

from typing import Any

import pytest
from support.fleet import NEW, OLD

from edgeqa.messages import ModelRef
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.rollout.model import Member
from edgeqa_cloud.rollout.plans import MAX_SAMPLE, DevicePlanned, Drafted, plan_of
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.views import Plan

NOW_MS = 1_800_000_000_000
OLD_MODEL, NEW_MODEL = ModelRef(**OLD), ModelRef(**NEW)


def device(
    *,
    presence: Presence = Presence.ONLINE,
    model: ModelRef | None = OLD_MODEL,
    asked: int | None = 200,
    rollout: str | None = None,
) -> DevicePlanned:
    return DevicePlanned(presence=presence, model=model, asked=asked, rollout=rollout)


def plan(stages: list[list[DevicePlanned]], *, matching: int | None = None, **spec: Any) -> Plan:
    sizes = [{"percent": 100 * (number + 1) / len(stages), "soak_s": 60}
             for number in range(len(stages))]  # fmt: skip
    made = RolloutSpec.model_validate(
        {"package": {"name": NEW["name"], "version": NEW["version"]}, "target": {"all": True},
         "stages": sizes, **spec}
    )  # fmt: skip
    devices = [(stage, one) for stage, some in enumerate(stages) for one in some]
    return plan_of(
        Drafted(
            spec=made,
            target=NEW_MODEL,
            members=[
                Member(device_id=key, device=f"d{key}", stage=stage, position=key)
                for key, (stage, _) in enumerate(devices)
            ],
            devices={key: one for key, (_, one) in enumerate(devices)},
            matching=len(devices) if matching is None else matching,
            begins_ms=[NOW_MS + 60_000 * number for number in range(len(stages))],
            ends_ms=NOW_MS + 60_000 * len(stages),
            now_ms=NOW_MS,
        )
    )


def test_who_gets_what_and_when() -> None:
    made = plan([[device()], [device(presence=Presence.SILENT), device(rollout="r-1")]])
    assert (made.devices, made.already, made.overlaps) == (3, 0, {"r-1": 1})
    assert made.model.digest == NEW["digest"]
    first, second = made.stages
    assert (first.label, first.devices, first.online, first.earliest_ms) == ("50 %", 1, 1, NOW_MS)
    assert (second.devices, second.online, second.earliest_ms) == (2, 1, NOW_MS + 60_000)
    assert [(one.device, one.presence, one.note) for one in second.sample] == [
        ("d1", "silent", None),
        ("d2", "online", "is in r-1 too"),
    ]
    assert made.earliest_end_ms == NOW_MS + 120_000


def test_nothing_is_odd_about_a_good_plan() -> None:
    assert plan([[device()], [device(), device()]]).warnings == []


def test_a_plan_of_many_names_some() -> None:
    made = plan([[device()], [device()] * (MAX_SAMPLE + 5)])
    assert made.stages[1].devices == MAX_SAMPLE + 5
    assert len(made.stages[1].sample) == MAX_SAMPLE


@pytest.mark.parametrize(
    ("stages", "fields", "words"),
    [
        ([[device(model=NEW_MODEL)], [device()]], {}, "1 device is on this model already"),
        ([[device(model=NEW_MODEL)], [device(model=NEW_MODEL)]], {}, "nothing to change"),
        ([[device(presence=Presence.OFFLINE)], [device()]], {}, "no device of stage 1 is online"),
        ([[device()], [device(presence=Presence.UNKNOWN)]], {}, "1 device is not online"),
        ([[device()], []], {}, "stage 2 adds no device"),
        ([[device()], [], []], {}, "stages 2, 3 add no device"),
        ([[device(), device()]], {}, "there is no canary"),
        ([[device()], [device()]], {"matching": 10}, "8 devices are left as they are"),
        ([[device()], [device(rollout="r-1"), device(rollout="r-1")]], {},
         "2 devices are in r-1 too"),
        ([[device()], [device(model=None)]], {}, "1 of the devices never told"),
        ([[device(asked=None)], [device()]], {},
         "gate f1: no device of stage 1 ever told an evaluation"),
        ([[device(asked=49)], [device()]], {},
         "last asked themselves 49 together; with so few it would pause the rollout, undecided"),
        ([[device(asked=49)], [device()]], {"gates": {"f1": {"required": False}}},
         "would say nothing"),
        ([[device()], [device()]], {"gates": dict.fromkeys(
            ("exact_match", "f1", "p95_latency", "error_rate", "memory", "temperature",
             "failed_swaps", "silent_devices"))}, "every gate is off"),
    ],
)  # fmt: skip
def test_what_is_odd_is_said(
    stages: list[list[DevicePlanned]], fields: dict[str, Any], words: str
) -> None:
    warnings = plan(stages, **fields).warnings
    assert any(words in warning for warning in warnings), warnings


def test_gates_are_not_doubted_where_nothing_changes() -> None:
    warnings = plan([[device(model=NEW_MODEL, asked=None)], [device()]]).warnings
    assert not any("evaluation" in warning for warning in warnings)
