"""The benchmark of what is kept: it measures, and says what it cannot."""

import json
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    answers = [{"text": "blue", "answer_start": 11}]
    paragraph = {
        "context": "The key is blue.",
        "qas": [{"id": "1", "question": "What colour is the key?", "answers": answers}],
    }
    data = tmp_path / "squad.json"
    article = {"title": "t", "paragraphs": [paragraph]}
    data.write_text(json.dumps({"version": "1.1", "data": [article]}))
    return subprocess.run(
        [sys.executable, "benchmarks/caches.py", "--data", str(data), "--rounds", "3", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_known_question_is_timed_beside_a_new_one_and_none(tmp_path: Path) -> None:
    done = run(tmp_path, "--part", "offer")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"\| [\d,]+ \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", done.stdout)
    assert len(rows) == 3
    assert all(float(time) > 0 for row in rows for time in row)


def test_a_part_that_there_is_not_is_named_with_those_there_are(tmp_path: Path) -> None:
    done = run(tmp_path, "--part", "speed")
    assert done.returncode == 2
    assert "speed: no part" in done.stderr
    assert "Traceback" not in done.stderr
