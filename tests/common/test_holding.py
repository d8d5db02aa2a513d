"""With EDGEQA_HOLD, what cannot succeed waits for people instead of being restarted for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgeqa.holding import holds

HEALTH = "EDGEQA_AGENT_HEALTH_FILE"


def edgeqa(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EDGEQA")}
    return subprocess.Popen(
        [sys.executable, "-m", "edgeqa.cli", *arguments],
        env={**clean, "EDGEQA_HOLD": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    """The first line on standard error; the process goes on."""
    assert process.stderr is not None
    return process.stderr.readline()


@pytest.mark.parametrize(
    "stop", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_wrong_setting_is_said_and_then_waited_over(stop: signal.Signals, tmp_path: Path) -> None:
    health = tmp_path / "health.json"
    process = edgeqa("agent", "run", EDGEQA_AGENT_QUEUE_SIZE="many", **{HEALTH: str(health)})
    line = said(process)
    assert line.startswith("edgeqa: queue_size")
    assert "[invalid_config]" in line
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.0)

    asked = edgeqa("agent", "health", **{HEALTH: str(health)})
    _, answer = asked.communicate(timeout=30)
    assert asked.returncode == 1  # not restarted for ever either, and not held
    assert "the agent did not start: queue_size" in answer

    process.send_signal(stop)
    _, rest = process.communicate(timeout=30)
    assert process.returncode == 3
    assert rest == ""


@pytest.mark.slow
def test_a_wrong_command_line_is_waited_over_too(tmp_path: Path) -> None:
    process = edgeqa("agent", "run", "--quue-size", "3", f"--health-file={tmp_path / 'health'}")
    assert said(process)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.0)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 2
    assert "did not start" not in (tmp_path / "health").read_text()  # a reason, not a sentence
    assert '"state": "held"' in (tmp_path / "health").read_text()


@pytest.mark.slow
def test_what_may_succeed_later_ends(tmp_path: Path) -> None:
    process = edgeqa(
        "agent", "run", EDGEQA_AGENT_BROKER="mqtt://127.0.0.1:1",
        EDGEQA_AGENT_BROKER_CONNECT_TIMEOUT_S="0.2", EDGEQA_AGENT_STATE_DIR=str(tmp_path),
    )  # fmt: skip
    process.communicate(timeout=60)
    assert process.returncode == 4


@pytest.mark.parametrize(
    ("words", "code", "value", "held"),
    [
        (["agent", "run"], 3, "1", True),
        (["agent", "run", "--device", "x"], 5, "true", True),
        (["cloud", "run"], 2, "1", True),
        (["cloud", "collect"], 6, "1", True),
        (["agent", "run"], 0, "1", False),
        (["agent", "run"], 1, "1", False),
        (["agent", "run"], 4, "1", False),
        (["agent", "run"], 130, "1", False),
        (["agent", "run"], 3, "", False),
        (["agent", "run"], 3, "0", False),
        (["agent", "run", "--check-config"], 3, "1", False),
        (["agent", "run", "--help"], 2, "1", False),
        (["agent", "health"], 3, "1", False),
        (["cloud", "migrate"], 3, "1", False),
        (["ask", "run"], 2, "1", False),
        ([], 2, "1", False),
    ],
)
def test_only_roles_wait_and_only_over_what_people_must_mend(
    words: list[str], code: int, value: str, held: bool
) -> None:
    assert holds(words, code, {"EDGEQA_HOLD": value}) is held
    assert not holds(words, code, {})
