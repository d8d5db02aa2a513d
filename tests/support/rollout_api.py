"""What the API tells of rollouts, for tests of those who read it."""

from __future__ import annotations

import json
from typing import Any

from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.views import RolloutView
from support.fleet import NEW, OLD

NOW_MS = 1_800_000_000_000
EVIL = "<b>[red]x[/red]</b>\x1b[31m\x1b]0;title\x07\x9b1m\r\n'; DROP TABLE rollouts; --\u202e\u200b"
ID = "r-20261125-a1b2c3"
MODEL = {"name": NEW["name"], "version": NEW["version"], "digest": NEW["digest"]}
GATE = {
    "gate": "f1", "status": "breached", "message": EVIL, "value": -12.1, "low": -18.0,
    "high": -6.2, "limit": -3.0, "unit": "points", "samples": 150,
}  # fmt: skip


def view(**fields: Any) -> dict[str, Any]:
    spec = RolloutSpec.model_validate(
        {"package": {"name": NEW["name"], "version": NEW["version"]}, "target": {"all": True},
         "note": fields.get("note", "")}
    )  # fmt: skip
    made: dict[str, Any] = {
        "rollout": ID, "created_ms": NOW_MS, "created_by": "user:anna", "model": MODEL,
        "state": "running", "code": None, "reason": None, "stage": 0, "stages": 2, "devices": 4,
        "states": {"changed": 1, "waiting": 3}, "ended_ms": None, "updated_ms": NOW_MS,
        "revision": 7, "note": "", "spec": spec.model_dump(mode="json"),
        "stage_list": [
            {"stage": 0, "label": "1 device", "soak_s": 60, "devices": 1,
             "states": {"changed": 1}, "state": "soaking"},
            {"stage": 1, "label": "100 %", "soak_s": 60, "devices": 3,
             "states": {"waiting": 3}, "state": "waiting"},
        ],
        "stage_begun_ms": NOW_MS, "soak_begun_ms": NOW_MS, "soak_ends_ms": NOW_MS + 60_000,
        "gates": [GATE | {"status": "undecided", "message": "too few"}], "gates_ms": NOW_MS,
        "waiting_for": "the soak, 60 s more", "orders": [],
    } | fields  # fmt: skip
    return json.loads(RolloutView.model_validate(made).model_dump_json())  # type: ignore[no-any-return]


def audit(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"total": len(entries), "entries": list(entries)}


def entry(number: int, action: str, message: str, **fields: Any) -> dict[str, Any]:
    return {"entry": number, "time_ms": NOW_MS, "actor": "engine", "action": action,
            "rollout": ID, "device": None, "message": message, "evidence": {}} | fields  # fmt: skip


def plan() -> dict[str, Any]:
    return {
        "model": MODEL, "devices": 3, "already": 0, "overlaps": {}, "earliest_end_ms": 1,
        "stages": [{"stage": 0, "label": "1 device", "soak_s": 60, "devices": 1, "online": 1,
                    "earliest_ms": 1, "sample": [
                        {"device": "pi5", "presence": "online", "model": OLD, "note": EVIL}]}],
        "warnings": [EVIL],
    }  # fmt: skip
