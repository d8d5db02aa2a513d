"""A cloud process that is killed at any of its transitions: another goes on, and nobody notices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.fleet import NEW, OLD
from support.following_fleet import BAD
from support.kill_rollouts import KINDS, NAMES

# Of the some dozens that there are; the slow test takes all.
SOME = {
    NEW["version"]: ["before-commit:2", "after-commit:2", "after-publish:1"],
    BAD["version"]: ["after-commit:4", "before-publish:3"],
}


def run(folder: Path, version: str, *points: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "support.kill_rollouts", str(folder), version, *points],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(trial: dict[str, Any], version: str) -> None:
    good = version == NEW["version"]
    assert trial["status"] == 0, trial
    assert trial["state"] == ("completed" if good else "undone"), trial
    assert trial["waiting"] == 0
    # No device got two different forward wishes, and none is left between two models.
    changed = 0
    for device, told in trial["devices"].items():
        forward = [wish for wish, wished in told["wishes"] if wished == version]
        assert len(forward) == len(set(forward)) <= 1, (device, trial)
        assert told["model"] == (version if good else OLD["version"]), (device, trial)
        changed += bool(forward)
    assert changed == (len(NAMES) if good else 2), trial
    # No decision is lost, and none is there twice.
    times = Counter(tuple(entry) for entry in trial["audit"])
    once = {"rollout_created", "completed"} if good else {
        "rollout_created", "gate_breached", "undo_begun", "undone",
    }  # fmt: skip
    for action in once:
        assert sum(n for (one, _), n in times.items() if one == action) == 1, (action, trial)
    begun = sum(n for (one, _), n in times.items() if one == "stage_begun")
    assert begun == (2 if good else 1), trial
    devices = Counter(device for (_, device), n in times.items() if device for _ in range(n))
    each = {action: n for action, n in times.items() if action[1] is not None}
    assert all(n == 1 for n in each.values()), (devices, trial)


@pytest.mark.parametrize("version", SOME)
def test_killed_at_some_transitions(tmp_path: Path, version: str) -> None:
    points = SOME[version]
    trials = run(tmp_path / "lives", version, *points)
    assert [one["point"] for one in trials if one["killed"]] == points
    for trial in trials:
        check(trial, version)


@pytest.mark.slow
@pytest.mark.parametrize("version", SOME)
def test_killed_at_each_transition(tmp_path: Path, version: str) -> None:
    trials = run(tmp_path / "lives", version, "all")
    reached = Counter(one["point"].partition(":")[0] for one in trials if one["killed"])
    assert set(reached) == set(KINDS)
    assert min(reached.values()) >= 3, reached
    for trial in trials:
        check(trial, version)
