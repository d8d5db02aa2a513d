"""SQuAD v2.0 and v1.1 scores against the implementation of transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny import questions, save_squad
from transformers.data.metrics.squad_metrics import squad_evaluate
from transformers.data.processors.squad import SquadExample
from typer.testing import CliRunner

from edgeqa.squad import Example, Gold
from edgeqa.squad_v2 import null_score
from edgeqa_models.cli import app
from edgeqa_models.evaluate import Asked, Tally
from edgeqa_models.report import read_report

TEXTS = st.sampled_from(["", "the", "pump", "the red pump", "red valve", "pump valve red", "..."])
SHARES = st.sampled_from(
    [0.0, 0.1, 0.25, 0.5, 0.9, 1.0]
)  # few, so that null scores are often equal
ROWS = st.lists(
    st.tuples(st.lists(TEXTS, max_size=3), TEXTS, SHARES, SHARES), min_size=1, max_size=15
)


def tally_of(
    rows: list[tuple[list[str], str, float, float]], threshold: float | None
) -> tuple[Tally, list[SquadExample]]:
    tally, theirs = Tally(len(rows), threshold), []
    for index, (golds, span, score, no_answer) in enumerate(rows):
        answers = tuple(Gold(text, 0) for text in golds)
        example = Example(str(index), "", "", "", answers)
        tally.add(Asked(example, span, score, no_answer, 1.0))
        texts = [{"text": text} for text in golds]
        theirs.append(SquadExample(str(index), "", "", None, None, "", answers=texts))
    return tally, theirs


@given(ROWS, SHARES)
@settings(max_examples=300, deadline=None)
def test_v2_scores_are_exactly_those_of_transformers(
    rows: list[tuple[list[str], str, float, float]], threshold: float
) -> None:
    tally, examples = tally_of(rows, threshold)
    spans = {one.example.id: one.span for one in tally.asked}
    nulls = {one.example.id: one.null_score for one in tally.asked}
    theirs = squad_evaluate(examples, spans, nulls, threshold)
    assert (tally.exact_match, tally.f1) == pytest.approx((theirs["exact"], theirs["f1"]))
    for prefix, answerable in (("HasAns", True), ("NoAns", False)):
        part = tally.part(answerable=answerable)
        assert (part is None) == (f"{prefix}_total" not in theirs)
        if part is not None:
            ours = (part.questions, part.exact_match, part.f1)
            names = ("total", "exact", "f1")
            assert ours == pytest.approx(tuple(theirs[f"{prefix}_{name}"] for name in names))
    for name, measure in (("exact", "exact_match"), ("f1", "f1")):
        best, found = tally.best_threshold(measure)  # type: ignore[arg-type]  # one of the two
        expected = (theirs[f"best_{name}"], theirs[f"best_{name}_thresh"])
        assert (best, found) == pytest.approx(expected)


@given(ROWS)
@settings(max_examples=100, deadline=None)
def test_v1_scores_are_exactly_those_of_transformers(
    rows: list[tuple[list[str], str, float, float]],
) -> None:
    tally, examples = tally_of(rows, None)
    theirs = squad_evaluate(examples, {one.example.id: one.span for one in tally.asked})
    assert (tally.exact_match, tally.f1) == pytest.approx((theirs["exact"], theirs["f1"]))


def test_null_scores_are_berts_difference_of_logits() -> None:
    assert null_score(0.2, 0.2) == null_score(0.0, 0.0) == 0.5
    assert (null_score(0.0, 1.0), null_score(1.0, 0.0)) == (1.0, 0.0)
    # ln(0.9) - ln(0.1) = 2.197; its logistic is 0.9.
    assert null_score(0.1, 0.9) == pytest.approx(0.9)


def save_squad_v2(path: Path, count: int) -> Path:
    """Every other question asks of a text that does not answer it."""
    paragraphs = [
        {
            "context": context,
            "qas": [
                {
                    "id": f"q{index}",
                    "question": question,
                    "is_impossible": index % 2 == 1,
                    "answers": [] if index % 2 else [{"text": answer, "answer_start": start}],
                    "plausible_answers": [],
                }
            ],
        }
        for index, (question, context, start, answer) in enumerate(questions(count))
    ]
    document = {"version": "v2.0", "data": [{"title": "Devices", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.mark.parametrize("threshold", [None, 0.0, 0.3, 1.0])
def test_the_command_scores_v2_as_the_official_script(
    int8: Path, tmp_path: Path, threshold: float | None
) -> None:
    data = save_squad_v2(tmp_path / "dev-v2.json", 20)
    command = ["evaluate", str(int8), "--data", str(data), "--best-threshold"]
    command += ["--report", str(tmp_path / "r.json"), "--output", str(tmp_path / "o.jsonl")]
    if threshold is not None:
        command += ["--null-threshold", str(threshold)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.exception
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    examples = [
        SquadExample(
            *(row["id"], "", "", None, None, ""), answers=[{"text": t} for t in row["answers"]]
        )
        for row in rows
    ]
    spans = {row["id"]: row["span"] for row in rows}
    nulls = {row["id"]: row["null_score"] for row in rows}
    chosen = 0.5 if threshold is None else threshold
    theirs = squad_evaluate(examples, spans, nulls, chosen)
    report = read_report(tmp_path / "r.json")
    assert (report.task, report.null_threshold) == ("squad_v2", chosen)
    assert (report.exact_match, report.f1) == pytest.approx((theirs["exact"], theirs["f1"]))
    assert report.has_answer is not None
    assert report.no_answer is not None
    assert report.has_answer.f1 == pytest.approx(theirs["HasAns_f1"])
    assert report.no_answer.exact_match == pytest.approx(theirs["NoAns_exact"])
    assert f"{theirs['best_f1']:.2f} with --null-threshold" in done.stdout
    assert [row["prediction"] == "" for row in rows] == [n > chosen for n in nulls.values()]


def test_a_threshold_on_v1_data_scores_them_as_v2(int8: Path, tmp_path: Path) -> None:
    data, report = save_squad(tmp_path / "v1.json", 4), tmp_path / "r.json"
    command = ["evaluate", str(int8), "--data", str(data), "--report", str(report)]
    assert CliRunner().invoke(app, [*command, "--null-threshold", "0"]).exit_code == 0
    read = read_report(report)
    assert (read.task, read.no_answer, read.exact_match) == ("squad_v2", None, 0.0)
