"""What the owner of a Raspberry Pi 5 runs, on a machine that is none."""

import json
import subprocess
import sys
from pathlib import Path

from edgeqa.manifest import open_package
from edgeqa_agent.settings import default_package

REPOSITORY = Path(__file__).parents[2]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "benchmarks/pi5.py", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_another_machine_is_refused_in_one_line() -> None:
    done = _run("--no-bench")
    assert done.returncode == 3
    assert done.stdout == ""
    [line] = done.stderr.strip().splitlines()
    assert "not a Raspberry Pi 5" in line
    assert "--any-board" in line


def test_the_table_has_a_line_for_each_length_and_number_of_threads(tmp_path: Path) -> None:
    done = _run(
        "--any-board", "--no-bench", "--rounds", "1", "--turn-s", "0", "--tokens", "64",
        "--output", str(tmp_path), str(default_package()),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "pi5.json").read_text(encoding="utf-8"))
    assert {row["questions"] for row in report["rows"]} == {1}
    lines = (tmp_path / "pi5.md").read_text(encoding="utf-8").splitlines()
    for row in report["rows"]:
        start = f"| {row['model']} | {row['tokens']} | {row['threads']} | {row['median']:.1f} ms "
        assert any(line.startswith(start) and "no estimate" in line for line in lines)
    assert {row["threads"] for row in report["rows"]} >= {1}
    assert set(report["before"]) == {"celsius", "megahertz", "flags"}


def test_the_estimate_covers_the_default_package() -> None:
    document = json.loads(
        (REPOSITORY / "benchmarks/arm64view/estimate.json").read_text(encoding="utf-8")
    )
    name = open_package(default_package()).manifest.name
    assert (name, 160) in {(view["model"], view["tokens"]) for view in document["views"]}
