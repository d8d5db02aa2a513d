"""Check questions and our evaluation set, asked of the package that is the embedded default."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.tiny import save_squad

from edgeqa import evaluation_set
from edgeqa.data.sources import load_examples
from edgeqa.errors import DataError
from edgeqa.manifest import open_package
from edgeqa.reader.engine import Engine
from edgeqa_models.checks import SHIPPED, read_checks, run_checks
from edgeqa_models.evaluate import evaluate
from edgeqa_models.sample import take_sample

PACKAGES = Path(__file__).parents[2] / "models" / "packages"
CHECK = {"question": "what ?", "context": "the pump starts", "answers": ["pump"]}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load(open_package(PACKAGES / "minilm-l6-squad-0.1.2"), threads=1)


def test_the_default_model_answers_every_check_question(engine: Engine) -> None:
    results = run_checks(engine, read_checks(SHIPPED))
    assert [result for result in results if not result.right] == []


@pytest.mark.slow
def test_the_set_tells_the_default_model_from_chance_and_from_perfection(engine: Engine) -> None:
    """Bounds wide enough for another processor; README.md of the set states the exact figures."""
    answerable = [example for example in evaluation_set.load() if example.answers]
    tally = evaluate(engine, answerable[::5], lambda _: None)
    assert 75 <= tally.exact_match <= 97
    assert 80 <= tally.f1 <= 98


def test_questions_fit_the_model_and_long_passages_need_windows(engine: Engine) -> None:
    windows = {
        example.id: len(engine.prepare(example.question, example.context).windows)
        for example in evaluation_set.load()
    }
    assert sum(count > 1 for count in windows.values()) >= 20
    # A check on a long text proves that windows are put together rightly.
    checked = {check.question for check in read_checks(SHIPPED)}
    asked = {example.question: example.id for example in evaluation_set.load()}
    assert any(windows[asked[question]] > 1 for question in checked)


def test_shipped_checks_are_the_marked_questions_of_the_set() -> None:
    examples = {example.question: example for example in evaluation_set.load()}
    checks = read_checks(SHIPPED)
    assert 20 <= len(checks) <= 40
    for check in checks:
        example = examples[check.question]
        assert check.context == example.context
        assert check.answers == [gold.text for gold in example.answers]


def test_a_list_of_ones_own_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps([CHECK]))
    [check] = read_checks(path)
    assert check.answers == ["pump"]


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "null",
        "7",
        '"text"',
        '{"data": 3}',
        '{"data": [{"paragraphs": [{"context": "c", "qas": [[]]}]}]}',
        '{"data": [{"paragraphs": [{"context": "c", "qas": [{"check": true}]}]}]}',
        json.dumps([{**CHECK, "answers": []}]),
        json.dumps([{**CHECK, "answers": ["valve"]}]),
        "[" * 100_000,
    ],
)
def test_what_is_not_checks_is_one_line_that_names_the_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"bad\.json") as caught:
        read_checks(path)
    assert "\n" not in str(caught.value)


def test_a_squad_file_without_marks_holds_no_checks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no check questions"):
        read_checks(save_squad(tmp_path / "plain.json", 3))


def test_the_set_is_known_by_its_name() -> None:
    sample = take_sample(evaluation_set.NAME, split="validation")
    assert sample.examples == evaluation_set.load()
    assert sample.fingerprint == evaluation_set.fingerprint()
    assert sample.dataset == f"{evaluation_set.NAME}-{evaluation_set.VERSION}"
    assert sample.task == "squad_v2"
    assert load_examples([evaluation_set.NAME], split="train") == sample.examples


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / evaluation_set.NAME).mkdir()
    save_squad(tmp_path / evaluation_set.NAME / "own.json", 3)
    assert len(load_examples([evaluation_set.NAME], split="train")) == 3
