"""The workshop's commands, run as people run them."""

from __future__ import annotations

import os
import subprocess
import sys


def edgeqa(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`edgeqa models …` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "edgeqa.cli", "models", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
