"""The commands, run as people run them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.tiny import questions, save_squad
from support.workshop import edgeqa

from edgeqa.manifest import open_package
from edgeqa_models.draft import open_measurable
from edgeqa_models.report import read_report


def test_from_drafts_to_a_package_by_commands_alone(
    fp32: Path, int8: Path, squad_file: Path, tmp_path: Path
) -> None:
    engine = open_measurable(int8, threads=1).engine
    rows = [(q, c, engine.answer(q, c).spans[0].text) for q, c, _, _ in questions(3)]
    checks = [{"question": q, "context": c, "answers": [answer]} for q, c, answer in rows]
    (tmp_path / "checks.json").write_text(json.dumps(checks))
    (tmp_path / "training.json").write_text(
        json.dumps({"base": "b", "base_licence": "l", "data": [], "recipe": {}})
    )
    for draft, name in ((fp32, "fp32"), (int8, "int8")):
        done = edgeqa(
            "evaluate", draft, "--data", squad_file, "--report", tmp_path / f"{name}.json"
        )
        assert done.returncode == 0, done.stderr
        assert "F1 " in done.stdout
        assert "p95" in done.stdout
    right = edgeqa("check", int8, "--checks", tmp_path / "checks.json")
    assert (right.returncode, right.stdout.splitlines()[-1]) == (0, "3 of 3 right")
    command = [
        *("package", int8, "--name", "tiny", "--version", "0.0.1", "--output", tmp_path / "out"),
        *("--report", tmp_path / "int8.json", "--fp32-report", tmp_path / "fp32.json"),
        *("--training", tmp_path / "training.json", "--checks", tmp_path / "checks.json"),
    ]
    done = edgeqa(*command, "--max-f1-loss", 100)
    assert done.returncode == 0, done.stderr
    made = open_package(tmp_path / "out" / "tiny-0.0.1")
    assert made.digest in done.stdout
    assert [score.questions for score in made.manifest.scores] == [24, 24]

    wrong = edgeqa("check", int8)
    assert wrong.returncode == 6
    assert "WRONG" in wrong.stdout
    assert wrong.stderr.rstrip().endswith("[checks_failed]")
    again = edgeqa(*command, "--max-f1-loss", 100)
    assert again.returncode == 3
    assert again.stderr.count("\n") == 1
    assert "[output_exists]" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("export", "nobody/no-such", "--output", "out"), 5, "nobody/no-such"),
        (("quantise", ".", "--output", "out"), 5, "draft_malformed"),
        (("evaluate", ".", "--data", "none.json"), 2, "none.json"),
        (("finetune", "x", "--data", "none.json", "--output", "out"), 2, "none.json"),
        (("evaluate", "."), 2, "--data"),
        (("finetune", "x", "--data", "y", "--output", "o", "--epochs", "-1"), 2, "--epochs"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(
    arguments: tuple[str, ...], status: int, said: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgeqa.cli", "models", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_needs_no_torch() -> None:
    script = (
        "import sys; from edgeqa.cli import build_app; build_app();"
        "print({'torch', 'transformers', 'onnxruntime'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_ctrl_c_prints_what_is_known_so_far(int8: Path, tmp_path: Path) -> None:
    data = save_squad(tmp_path / "long.json", 40_000)
    running = subprocess.Popen(
        [
            *(sys.executable, "-m", "edgeqa.cli", "models", "evaluate", int8),
            *("--data", data, "--report", tmp_path / "r.json"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "TTY_COMPATIBLE": "1"},
    )
    assert running.stderr is not None
    running.stderr.read(1)  # the bar is drawn: questions are being asked
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    printed, complained = running.communicate(timeout=60)
    assert running.returncode == 130, complained
    assert "stopped after" in printed
    assert "Traceback" not in complained
    report = read_report(tmp_path / "r.json")
    assert not report.complete
    assert 0 < report.questions < 40_000
