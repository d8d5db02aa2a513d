"""Beginning a rollout once, however often a form is sent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeqa_cloud.api.idempotency import MAX_KEY_CHARS, Call, Idempotency, Kept, digest
from edgeqa_cloud.api.problems import Problem
from edgeqa_cloud.rollout.spec import RolloutSpec

if TYPE_CHECKING:
    from edgeqa_cloud.api.access import Caller
    from edgeqa_cloud.api.parts import Console

KEY_CHARS = MAX_KEY_CHARS
_MADE = 201
# For the first of two: a rollout of 10,000 devices is written in some seconds.
_LOOKS = 100
_LOOK_EVERY_S = 0.1


def begin_once(
    console: Console,
    caller: Caller,
    spec: RolloutSpec,
    *,
    key: str,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Begin a rollout; its id. The same key again gives the same rollout.

    Raises:
        Problem: the key is that of another spec, or its outcome cannot be known.
        EdgeqaError: as `Rollouts.create`; the key can be used again.
    """
    keys = Idempotency(database=console.database, now_ms=console.now_ms)
    call = Call(caller.actor, key, digest("POST", "/rollouts", "", spec.model_dump_json().encode()))
    kept = _begin(keys, call, sleep)
    if kept is not None:
        return str(json.loads(kept.body)["rollout"])
    try:
        rollout = console.rollouts.create(spec, actor=caller.actor).rollout
    except Exception:
        keys.forget(call)
        raise
    keys.finish(call, Kept(_MADE, {}, json.dumps({"rollout": rollout}).encode()))
    return rollout


def _begin(keys: Idempotency, call: Call, sleep: Callable[[float], None]) -> Kept | None:
    for left in reversed(range(_LOOKS)):
        try:
            return keys.begin(call)
        except Problem as problem:
            if problem.code != "under_way" or not left:
                raise
            sleep(_LOOK_EVERY_S)
    raise AssertionError("unreachable")
