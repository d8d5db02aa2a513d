"""Evaluating: every question counted once, results whole or not at all, honest memory."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny import save_squad
from typer.testing import CliRunner

from edgeqa.data.identity import fingerprint
from edgeqa.data.sources import load_examples
from edgeqa.errors import ConfigError, DataError, EdgeqaError, ModelLoadError, UsageError
from edgeqa.squad import Example, Gold
from edgeqa_models.answers import answer_lines
from edgeqa_models.cli import app
from edgeqa_models.draft import open_measurable
from edgeqa_models.evaluate import Asked, Tally, evaluate
from edgeqa_models.interrupt import Interrupt
from edgeqa_models.peak_memory import peak_memory
from edgeqa_models.report import read_report
from edgeqa_models.result_file import demand_places, write_result
from edgeqa_models.sample import draw, take_sample
from edgeqa_models.significance import bootstrap_interval, mcnemar, paired_difference


def asked(milliseconds: float = 1.0, span: str = "pump", **changes: Any) -> Asked:
    example = Example("q", "T", "what", "the pump", (Gold("pump", 4),))
    return replace(Asked(example, span, 0.5, 0.1, milliseconds), **changes)


def run(*arguments: object) -> tuple[int, str, BaseException | None]:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    return done.exit_code, done.stdout, done.exception


def test_an_evaluation_scores_every_question(int8: Path, squad_file: Path) -> None:
    examples = load_examples([str(squad_file)], split="train")
    seen: list[int] = []
    engine = open_measurable(int8, threads=1).engine
    tally = evaluate(engine, examples, lambda now: seen.append(now.questions))
    assert seen == list(range(1, 25))
    assert [one.example for one in tally.asked] == examples
    assert 0 <= tally.exact_match <= tally.f1 <= 100
    assert 0 < tally.percentile_ms(0.5) <= tally.percentile_ms(0.95) <= max(tally.times_ms)


def test_questions_that_the_reader_refuses_count_as_wrong(int8: Path, squad_file: Path) -> None:
    [example] = load_examples([str(squad_file)], split="train")[:1]
    long = replace(example, question="what " * 100)
    engine = open_measurable(int8, threads=1).engine
    tally = evaluate(engine, [long], lambda _: None)
    assert (tally.refused, tally.questions, tally.f1) == (1, 1, 0.0)


def test_a_stopped_evaluation_keeps_what_it_knows(int8: Path, squad_file: Path) -> None:
    examples = load_examples([str(squad_file)], split="train")
    engine = open_measurable(int8, threads=1).engine
    done: list[Tally] = []
    tally = evaluate(engine, examples, done.append, stop=lambda: len(done) == 5)
    assert (tally.questions, tally.expected) == (5, 24)


def test_percentiles_are_nearest_rank() -> None:
    tally = Tally(100)
    for value in range(100, 0, -1):
        tally.add(asked(float(value)))
    assert [tally.percentile_ms(share) for share in (0.5, 0.95, 0.99)] == [50.0, 95.0, 99.0]
    assert Tally(0).percentile_ms(0.5) == 0.0


def test_samples_and_fingerprints_repeat(squad_file: Path) -> None:
    examples = load_examples([str(squad_file)], split="train")
    assert draw(examples, 5, 1) == draw(examples, 5, 1) != draw(examples, 5, 2)
    assert draw(examples, 0, 1) == draw(examples, 99, 1) == examples
    assert len({fingerprint(str(path), examples) for path in (squad_file, squad_file.parent)}) == 2
    part = take_sample(str(squad_file), split="train", limit=5, seed=2)
    assert part.dataset == "tiny (5 of 24 questions, seed 2)"
    assert part.fingerprint == fingerprint(str(squad_file), examples)


def test_the_command_writes_report_and_answers(int8: Path, tmp_path: Path) -> None:
    data = save_squad(tmp_path / "data.json", 12)
    report, output = tmp_path / "r.json", tmp_path / "o.jsonl"
    status, printed, _ = run(
        *("evaluate", int8, "--data", data, "--report", report, "--output", output)
    )
    assert status == 0
    result = read_report(report)
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert f"{result.exact_match:.2f} (95 % interval" in printed
    assert (result.task, result.complete, result.questions) == ("squad_v1", True, 12)
    assert (result.has_answer, result.no_answer, result.null_threshold) == (None, None, None)
    assert [row["id"] for row in rows] == [f"q{index}" for index in range(12)]
    assert 100 * sum(row["f1"] for row in rows) / 12 == pytest.approx(result.f1)
    assert sum(row["milliseconds"] for row in rows) / 1000 == pytest.approx(result.seconds, rel=0.1)
    assert result.questions_per_s == pytest.approx(12 / result.seconds)
    assert result.f1_interval[0] <= result.f1 <= result.f1_interval[1]
    assert result.exact_match_interval[0] <= result.exact_match <= result.exact_match_interval[1]
    assert result.p50_ms <= result.p95_ms <= result.p99_ms
    assert result.model_bytes == (int8 / "model.onnx").stat().st_size
    assert all(row["prediction"] == row["span"] and not row["refused"] for row in rows)


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"--report": "none/r.json"}, ConfigError, "there is no folder"),
        ({"--output": "."}, ConfigError, "it is a folder"),
        ({"--output": "x", "--report": "./x"}, UsageError, "one file"),
        ({"--data": "none.parquet"}, DataError, "No such file"),
        ({"--best-threshold": None}, UsageError, "no unanswerable"),
    ],
)
def test_bad_arguments_are_refused_before_the_work(  # noqa: PLR0917  fixtures
    changes: dict[str, str | None],
    kind: type[EdgeqaError],
    said: str,
    int8: Path,
    squad_file: Path,
    empty_folder: Path,
) -> None:
    options: dict[str, Any] = {"--data": squad_file, **changes}
    words = [word for pair in options.items() for word in pair if word is not None]
    _, printed, error = run("evaluate", int8, *words)
    assert isinstance(error, kind), error
    assert said in str(error)
    assert "\n" not in str(error)
    assert printed == ""
    assert list(empty_folder.iterdir()) == []


def test_null_thresholds_are_shares(int8: Path, squad_file: Path) -> None:
    for wrong in ("1.5", "-0.1", "x"):
        status, _, _ = run("evaluate", int8, "--data", squad_file, "--null-threshold", wrong)
        assert status == 2


def test_a_result_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    old = tmp_path / "r.json"
    old.write_bytes(b"old")
    demand_places(old, None)
    with pytest.raises(ConfigError, match="cannot be written") as caught:
        write_result(tmp_path / "none" / "r.json", b"new")
    assert caught.value.code == "output_unwritable"
    write_result(old, b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("r.json", b"new")]


def test_answers_with_broken_characters_are_still_json() -> None:
    tally = Tally(1)
    tally.add(asked(span="half \ud83d a pair"))
    [line] = answer_lines(tally).decode("utf-8").splitlines()
    assert json.loads(line)["prediction"] == "half \ud83d a pair"


def test_reports_of_another_schema_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text('{"schema": 1}')
    with pytest.raises(DataError, match=r"schema.*evaluate the model again") as caught:
        read_report(path)
    assert "\n" not in str(caught.value)


def test_the_first_signal_is_noted_and_the_second_ends_the_process() -> None:
    with Interrupt() as interrupt:
        assert not interrupt.asked()
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.asked()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    before = signal.getsignal(signal.SIGINT)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_peak_memory_is_that_of_a_process_with_the_reader_alone(
    int8: Path, squad_file: Path
) -> None:
    script = (
        "import sys, edgeqa_models.peak_memory\n"
        "print({'torch', 'transformers', 'datasets', 'onnx', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
    ballast = np.ones(60_000_000)  # 480 MB that the process measured must not count as its own
    examples = load_examples([str(squad_file)], split="train")
    peak = peak_memory(int8, examples, threads=1)
    assert 10 << 20 < peak < 300 << 20
    assert ballast[-1] == 1


def test_a_model_that_fails_beside_is_one_line(tmp_path: Path, squad_file: Path) -> None:
    examples = load_examples([str(squad_file)], split="train")
    with pytest.raises(ModelLoadError, match="measures its memory failed") as caught:
        peak_memory(tmp_path, examples, threads=1)
    assert "\n" not in str(caught.value)


def test_mcnemar_worked_by_hand() -> None:
    # 9 questions that only one answers, split 8 to 1: 2 * (1 + 9) / 2^9.
    first, other = [0] * 8 + [1] + [1] * 20 + [0] * 5, [1] * 8 + [0] + [1] * 20 + [0] * 5
    result = mcnemar(first, other)
    assert (result.gained, result.lost, result.p) == (8, 1, 20 / 512)
    assert mcnemar(other, first).p == result.p
    assert mcnemar([1, 0], [1, 0]).p == 1.0
    assert mcnemar([1, 0], [0, 1]).p == 1.0
    assert mcnemar([], []).p == 1.0
    assert mcnemar([0] * 500, [1] * 500).p == 2.0**-499
    assert mcnemar([0] * 3000, [1] * 2999 + [0]).p == 0.0  # too small for a float, no overflow


def test_the_bootstrap_is_that_of_resampled_questions() -> None:
    rng = random.Random(1)
    values = [rng.choice([0.0, 0.0, 0.4, 1.0]) for _ in range(400)]
    draws = np.random.default_rng(5).choice(values, size=(10_000, 400)).mean(axis=1)
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values)  # seeded
    assert low == pytest.approx(np.quantile(draws, 0.025), abs=0.003)
    assert high == pytest.approx(np.quantile(draws, 0.975), abs=0.003)
    assert bootstrap_interval([1.0] * 7) == (1.0, 1.0)
    assert bootstrap_interval([]) == (0.0, 0.0)


def test_95_percent_of_the_intervals_hold_the_truth() -> None:
    generator = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        low, high = bootstrap_interval(list(generator.random(300) < 0.7))
        held += low <= 0.7 <= high
    assert 180 <= held <= 198


def test_paired_differences_meet_the_same_questions() -> None:
    first = [0.0, 1.0] * 50
    better = [min(1.0, value + 0.1) for value in first]
    same = paired_difference(first, first)
    assert (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)
    gain = paired_difference(first, better)
    assert gain.mean == pytest.approx(0.05)
    assert 0 < gain.low < 0.05 < gain.high
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([1.0, 0.0], [1.0])
