"""Comparing: the same questions in turns, honest ratios, and refusals before the work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.tiny import save_squad
from typer.testing import CliRunner

from edgeqa.data.sources import load_examples
from edgeqa.errors import DataError, EdgeqaError, ModelLoadError, UsageError
from edgeqa.reader.engine import Engine, Reading
from edgeqa_models.cli import app
from edgeqa_models.compare import BLOCK, against_first, ask_in_turns
from edgeqa_models.comparison import Comparison, Entry
from edgeqa_models.comparison_table import as_markdown, as_text
from edgeqa_models.contenders import Loaded, find_contenders
from edgeqa_models.draft import Measurable, open_measurable
from edgeqa_models.evaluate import Tally, evaluate
from edgeqa_models.report import Report, read_report


def run(*arguments: object) -> tuple[int, str, BaseException | None]:
    done = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    return done.exit_code, done.stdout, done.exception


class Noting:
    """An engine that notes who was asked when."""

    def __init__(self, engine: Engine, name: str, notes: list[str]) -> None:
        self._engine, self._name, self._notes = engine, name, notes

    def answer(self, question: str, context: str) -> Reading:
        self._notes.append(self._name)
        return self._engine.answer(question, context)


def loaded(folder: Path, name: str, notes: list[str]) -> Loaded:
    engine: Any = Noting(open_measurable(folder, threads=1).engine, name, notes)
    return Loaded(name, Measurable(engine, "int8", "0" * 64, 1), 1)


def test_models_take_turns_in_another_order_each_block(
    fp32: Path, int8: Path, tmp_path: Path
) -> None:
    examples = load_examples([str(save_squad(tmp_path / "d.json", 2 * BLOCK + 3))], split="train")
    notes: list[str] = []
    models = [loaded(fp32, "a", notes), loaded(int8, "b", notes)]
    seen: list[int] = []
    tallies = ask_in_turns(models, examples, lambda asked, _: seen.append(asked))
    blocks = ["a" * BLOCK, "b" * BLOCK, "b" * BLOCK, "a" * BLOCK, "aaa", "bbb"]
    assert "".join(notes) == "ab" + "".join(blocks)  # each is warmed once
    assert seen[-1] == 2 * len(examples)
    for folder, tally in zip((fp32, int8), tallies, strict=True):
        alone = evaluate(open_measurable(folder, threads=1).engine, examples, lambda _: None)
        assert [one.span for one in tally.asked] == [one.span for one in alone.asked]
        assert tally.verdicts == alone.verdicts


@pytest.mark.parametrize(("answers", "known"), [(0, 0), (5, 0), (2 * BLOCK, 1), (3 * BLOCK, 1)])
def test_a_stopped_comparison_knows_the_same_questions_of_all(
    answers: int, known: int, int8: Path, tmp_path: Path
) -> None:
    examples = load_examples([str(save_squad(tmp_path / "d.json", 3 * BLOCK))], split="train")
    notes: list[str] = []
    models = [loaded(int8, "a", notes), loaded(int8, "b", notes)]
    tallies = ask_in_turns(
        models, examples, lambda *_: None, stop=lambda: len(notes) >= answers + 2
    )
    assert [tally.questions for tally in tallies] == [known * BLOCK] * 2


def report(**changes: Any) -> Report:
    values: dict[str, Any] = {
        "schema": 2,
        "dataset": "dev",
        "fingerprint": "0" * 64,
        "task": "squad_v1",
        "precision": "fp32",
        "model_sha256": "0" * 64,
        "model_bytes": 90_000_000,
        "complete": True,
        "questions": 100,
        "refused": 0,
        "exact_match": 70.0,
        "f1": 80.0,
        "exact_match_interval": (61.0, 79.0),
        "f1_interval": (72.0, 87.0),
        "seconds": 5.0,
        "questions_per_s": 20.0,
        "p50_ms": 45.0,
        "p95_ms": 80.0,
        "p99_ms": 90.0,
        "peak_memory_bytes": 200 << 20,
        "machine": "x",
        "threads": 1,
    }
    return Report(**{**values, **changes})


def compared(*entries: Entry, tallies: list[Tally | None] | None = None) -> Comparison:
    pairs = against_first(entries, tallies or [None] * len(entries))
    return Comparison(schema=1, complete=True, entries=list(entries), pairs=pairs)


def test_ratios_are_against_the_first_and_only_on_one_machine() -> None:
    quick = {"f1": 76.0, "seconds": 2.5, "questions_per_s": 40.0, "precision": "int8"}
    made = compared(
        Entry(label="big", report=report()),
        Entry(label="small", report=report(**quick)),
        Entry(label="elsewhere", report=report(**quick, machine="y")),
        Entry(label="threads", report=report(**quick, threads=2)),
        Entry(label="part", report=report(**quick, questions=50)),
    )
    ratios = [(pair.speed_ratio, pair.f1_share) for pair in made.pairs]
    assert ratios == [(2.0, 95.0), (None, 95.0), (None, 95.0), (2.0, None)]
    text = as_text(made)
    assert "elsewhere: measured on y with 1 thread;" in text
    assert "measured on x with 2 threads" in text
    assert "13220.32" in text
    assert "97.3 %" in text  # of the published pair
    assert "McNemar" not in text
    assert "DistilBERT  52.79  70.44         6505.98   2.03   97.3 %" in text


def test_tables_line_up() -> None:
    made = compared(
        Entry(label="big|one", report=report()),
        Entry(label="int8", report=report(precision="int8")),
    )
    [table] = [part for part in as_text(made).split("\n\n") if part.startswith("model  ")][:1]
    assert len({len(line) for line in table.splitlines()}) == 1
    markdown = as_markdown(made)
    assert "| big\\|one (fp32) | 70.00 (61.0–79.0) | 80.00 (72.0–87.0) | 5.00 |" in markdown
    assert "\n| int8 | " in markdown  # says its precision already
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {row.replace("\\|", "").count("|") for row in rows[:4]} == {12}


def test_the_command_compares_drafts_and_reports(fp32: Path, int8: Path, tmp_path: Path) -> None:
    data = save_squad(tmp_path / "data.json", 20)
    earlier = tmp_path / "earlier.json"
    command = ["evaluate", int8, "--data", data, "--report", earlier]
    assert CliRunner().invoke(app, [*map(str, command)]).exit_code == 0
    status, printed, _ = run(
        *(fp32, int8, earlier, "--data", data),
        *("--json", tmp_path / "c.json", "--plot", tmp_path / "plot"),
    )
    assert status == 0
    read = Comparison.model_validate_json((tmp_path / "c.json").read_bytes())
    assert [entry.label for entry in read.entries] == ["fp32", "int8", "earlier"]
    assert read.complete
    first, second = read.pairs
    assert first.significance is not None
    low, high = first.significance.f1_interval
    assert low <= first.significance.f1_difference <= high
    difference = read.entries[1].report.f1 - read.entries[0].report.f1
    assert first.significance.f1_difference == pytest.approx(difference)
    won = first.significance.gained - first.significance.lost
    exact = read.entries[1].report.exact_match - read.entries[0].report.exact_match
    assert 100 * won / 20 == pytest.approx(exact)
    assert second.significance is None
    assert read.entries[2].report == read_report(earlier)
    assert read.entries[2].report.f1 == read.entries[1].report.f1
    assert [row.seconds for row in read.published] == [13220.32, 6505.98]
    assert "Against fp32, paired on the same 20 questions" in printed
    assert {path.name for path in tmp_path.iterdir()} == {
        *("data.json", "earlier.json", "c.json", "plot.png", "plot.svg"),
    }


@pytest.fixture
def workplace(
    int8: Path, squad_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with reports, good and bad, of `squad_file`; links to a draft and to the data."""
    command = ["evaluate", int8, "--data", squad_file, "--report", tmp_path / "good.json"]
    assert CliRunner().invoke(app, [*map(str, command)]).exit_code == 0
    good = json.loads((tmp_path / "good.json").read_text())
    for name, change in (
        ("stopped", {"complete": False}),
        ("empty", {"questions": 0}),
        ("other", {"fingerprint": "1" * 64, "dataset": "elsewhere"}),
        ("part", {"questions": 7}),
        ("old", {"schema": 1}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps({**good, **change}))
    (tmp_path / "draft").symlink_to(int8)
    (tmp_path / "data").symlink_to(squad_file)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ("draft", UsageError, "two models or more"),
        ("draft ./draft --data data", UsageError, "named twice"),
        ("draft good.json", UsageError, "name questions with --data"),
        ("draft stopped.json --data data", DataError, "stopped"),
        ("draft empty.json --data data", DataError, "never began"),
        ("draft other.json --data data", DataError, "24 questions of elsewhere"),
        ("draft good.json --data data --null-threshold 1", DataError, "null threshold 1"),
        ("good.json other.json", DataError, "24 questions of elsewhere"),
        ("good.json part.json", DataError, "7 questions"),
        ("draft good.json --data data --limit 5", DataError, "the others with 5 questions"),
        ("draft old.json --data data", DataError, "evaluate the model again"),
        ("draft none.json --data data", DataError, "No such file"),
        ("draft . --data data", ModelLoadError, "not a draft"),
        ("draft good.json --data none.json", DataError, "No such file"),
        ("draft good.json --data data --plot x.pdf", UsageError, ".png or a .svg"),
        ("draft good.json --data data --plot none/x", EdgeqaError, "no folder"),
        ("draft good.json --data data --plot x --json x.svg", UsageError, "two results"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: str, kind: type[EdgeqaError], said: str, workplace: Path
) -> None:
    before = sorted(path.name for path in workplace.iterdir())
    _, printed, error = run(*arguments.split())
    assert isinstance(error, kind), error
    assert said in str(error)
    assert "\n" not in str(error)
    assert printed == ""
    assert sorted(path.name for path in workplace.iterdir()) == before


def test_reports_alone_need_no_data(workplace: Path) -> None:
    status, printed, error = run("good.json", "good2.json")
    assert isinstance(error, DataError)
    (workplace / "good2.json").write_bytes((workplace / "good.json").read_bytes())
    status, printed, _ = run("good.json", "good2.json", "--markdown")
    assert status == 0
    assert "| good2 (int8) |" in printed


def test_labels_of_two_folders_with_one_name_are_their_paths(int8: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "draft").mkdir()
    paths = [tmp_path / "one" / "draft", tmp_path / "two" / "draft", int8]
    labels = [contender.label for contender in find_contenders(paths)]
    assert labels == [str(paths[0]), str(paths[1]), int8.name]


def test_ctrl_c_prints_what_is_known_so_far(fp32: Path, int8: Path, tmp_path: Path) -> None:
    data = save_squad(tmp_path / "long.json", 40_000)
    running = subprocess.Popen(
        [
            *(sys.executable, "-m", "edgeqa.cli", "models", "compare", fp32, int8),
            *("--data", data, "--json", tmp_path / "c.json"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "TTY_COMPATIBLE": "1"},
    )
    assert running.stderr is not None
    running.stderr.read(1)  # the bar is drawn: questions are being asked
    time.sleep(1)
    running.send_signal(signal.SIGINT)
    printed, complained = running.communicate(timeout=60)
    assert running.returncode == 130, complained
    assert "stopped by Ctrl-C: " in printed
    assert "Traceback" not in complained
    read = Comparison.model_validate_json((tmp_path / "c.json").read_bytes())
    asked = {entry.report.questions for entry in read.entries}
    assert len(asked) == 1
    assert 0 < asked.pop() < 40_000
    assert not read.complete
