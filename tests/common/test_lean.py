"""What a long-running process does not load, and that it is there for who wants it."""

from __future__ import annotations

import subprocess
import sys

AGENT = """
import sys
from edgeqa.lean import import_structlog
import_structlog()
import edgeqa_agent.app
print({"rich", "greenlet", "cryptography", "numpy", "onnxruntime"} & set(sys.modules))
"""

TABLES = """
from edgeqa.lean import import_structlog
import_structlog()
import rich.table, structlog
from edgeqa.logs import configure_logs
configure_logs(level="info", fmt="console")
try:
    raise ValueError("seen")
except ValueError:
    structlog.get_logger().exception("failed")
print(rich.table.Table().row_count)
"""


def said(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )


def test_the_main_process_of_an_agent_leaves_out_what_it_does_not_use() -> None:
    assert said(AGENT).stdout.strip() == "set()"


def test_tables_can_still_be_printed_and_tracebacks_are_logged() -> None:
    done = said(TABLES)
    assert done.stdout.strip() == "0"
    assert "ValueError: seen" in done.stderr
