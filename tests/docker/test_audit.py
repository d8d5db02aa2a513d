"""`docker/audit.py`: a check that could not be made does not look like one that was passed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeqa.processes import free_port

SCRIPT = Path(__file__).parents[2] / "docker" / "audit.py"


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--strict"], 4)])
def test_where_the_database_cannot_be_reached_one_line_says_so(
    options: list[str], code: int
) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1/query"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--osv-url", url, *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (code, "")
    [line] = done.stdout.splitlines()
    assert f"{url} cannot be reached" in line
    assert "nothing was looked up" in line
