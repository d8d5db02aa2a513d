"""`make demo` without its installation: everything that it shows must be seen to work."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def test_demo_sees_everything_work_and_ends_with_0() -> None:
    command = [sys.executable, "-m", "edgeqa.cli", "demo", "--once"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=570, check=False)

    assert result.returncode == 0, result.stdout + result.stderr
    assert "FAILED" not in result.stdout
    assert "mosquitto_rr" in result.stdout
    assert "0 lost" in result.stdout
    assert "demo-reader 1.0.0 rolled out to 32 devices" in result.stdout
    assert "stopped in the canary stage" in result.stdout
