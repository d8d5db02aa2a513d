"""The root command on an installation that lacks the libraries of a role."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def edgeqa(*arguments: str, without: str) -> subprocess.CompletedProcess[str]:
    """The command where a library is not installed."""
    code = (
        f"import sys; sys.modules[{without!r}] = None; sys.argv = ['edgeqa', *{arguments!r}];"
        "from edgeqa.cli import main; main()"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["fleet", "cloud"])
def test_a_command_without_its_libraries_says_what_to_install(command: str) -> None:
    ran = edgeqa(command, "list", "--json", without="sqlalchemy")
    assert ran.returncode == 3
    assert ran.stderr == (
        f"edgeqa: `edgeqa {command}` needs sqlalchemy, which is not installed: "
        "pip install 'edgeqa[cloud]' [extra_missing]\n"
    )


def test_the_others_do_not_miss_them() -> None:
    ran = edgeqa("agent", "run", "--check-config", without="sqlalchemy")
    assert (ran.returncode, ran.stderr) == (0, "")
    helped = edgeqa("--help", without="sqlalchemy")
    assert helped.returncode == 0
    assert "Its libraries are not installed." in helped.stdout
    assert "Answers questions" in helped.stdout or "answers questions" in helped.stdout


def test_a_command_imports_no_other_role() -> None:
    code = (
        "import sys; from edgeqa.cli import build_app; build_app('agent');"
        "print({name.partition('.')[0] for name in sys.modules} & "
        "{'edgeqa_cloud', 'edgeqa_models', 'sqlalchemy'})"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


def test_no_command_lets_onnxruntime_report_to_its_maker() -> None:
    code = (
        "import atexit, os, sys; sys.argv = ['edgeqa', '--help'];"
        "atexit.register(lambda: print('told', os.environ.get('ORT_DISABLE_TELEMETRY')));"
        "from edgeqa.cli import main; main()"
    )
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert ran.stdout.endswith("told 1\n")
