"""EM and F1 against the implementation of transformers, and the reading of SQuAD files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.data.metrics import squad_metrics
from transformers.data.processors.squad import SquadExample

from edgeqa.errors import DataError
from edgeqa.squad import Example, Gold, best, exact, f1, normalise, read_squad, score

# What answers are made of: articles alone and inside words, punctuation that is dropped and that
# is not (typographic), digits of other scripts, case that changes length, all kinds of space.
PIECES = st.sampled_from(
    [
        *["the", "The", "THE", "a", "an", "An", "theatre", "banana", "A.", "a-b", "an’"],
        *["Denver Broncos", "$1,200", "3.5%", "10 000", "U.S.", "1879–1955", "“quoted”", "O'Neill"],
        *["İstanbul", "ﬁ", "ß", "Σίσυφος", "東京", "ＡＢＣ", "١٢٣", "e\u0301", "🙂", "naïve"],
        *[" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2009", "\u3000", "\x1c", "\x85", "\0"],
        *[".", ",", "!", "-", "–", "_", "'", "’", "(", ")", "[SEP]", "##ing", "<unk>"],
    ]
)
ANSWERS = st.one_of(st.lists(PIECES, max_size=8).map("".join), st.text(max_size=30))

REAL = [
    (["Denver Broncos", "The Denver Broncos"], "the Denver broncos."),
    (["Saint Bernadette Soubirous"], "Bernadette"),
    (["a golden statue of the Virgin Mary"], "golden statue"),
    (["1,500", "1500"], "1 500"),
    (["the"], "a"),
    (["the"], ""),
    ([], ""),
    ([], "something"),
    (["..."], "..."),
    (["The A-Team"], "A Team"),
    (["10–12 %"], "10-12%"),
]


def reference(golds: list[str], answer: str) -> tuple[float, float]:
    row = SquadExample("q", "", "", None, None, "", answers=[{"text": gold} for gold in golds])
    exacts, f1s = squad_metrics.get_raw_scores([row], {"q": answer})
    return exacts["q"], f1s["q"]


def ours(golds: list[str], answer: str) -> tuple[float, float]:
    accepted = [Gold(text, 0) for text in golds]
    return best(exact, accepted, answer), best(f1, accepted, answer)


@given(ANSWERS)
@settings(max_examples=400, deadline=None)
def test_normalisation_is_that_of_transformers(text: str) -> None:
    assert normalise(text) == squad_metrics.normalize_answer(text)


@given(st.lists(ANSWERS, max_size=4), ANSWERS)
@settings(max_examples=400, deadline=None)
def test_scores_are_exactly_those_of_transformers(golds: list[str], answer: str) -> None:
    assert ours(golds, answer) == reference(golds, answer)


@pytest.mark.parametrize(("golds", "answer"), REAL)
def test_real_answers_score_as_with_transformers(golds: list[str], answer: str) -> None:
    assert ours(golds, answer) == reference(golds, answer)


@given(st.lists(st.tuples(st.lists(ANSWERS, max_size=3), ANSWERS), min_size=1, max_size=12))
@settings(max_examples=100, deadline=None)
def test_total_is_exactly_that_of_transformers(rows: list[tuple[list[str], str]]) -> None:
    examples = [
        Example(str(index), "", "", "", tuple(Gold(text, 0) for text in golds))
        for index, (golds, _) in enumerate(rows)
    ]
    squad_rows = [
        SquadExample(e.id, "", "", None, None, "", answers=[{"text": g.text} for g in e.answers])
        for e in examples
    ]
    predictions = {e.id: answer for e, (_, answer) in zip(examples, rows, strict=True)}
    theirs = squad_metrics.make_eval_dict(*squad_metrics.get_raw_scores(squad_rows, predictions))
    mine = score((e, predictions[e.id]) for e in examples)
    assert (mine.exact_match, mine.f1) == (theirs["exact"], theirs["f1"])
    assert mine.questions == theirs["total"]


def test_scoring_nothing_is_an_error() -> None:
    with pytest.raises(DataError):
        score([])


def document(answer: str = "fan", start: int = 4) -> dict[str, object]:
    qa = {"id": 1, "question": "What?", "answers": [{"text": answer, "answer_start": start}]}
    return {"data": [{"title": "T", "paragraphs": [{"context": "the fan 🙂 runs", "qas": [qa]}]}]}


def test_a_file_is_read_with_its_offsets(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps(document("runs", 10)), encoding="utf-8")
    [example] = read_squad(path)
    assert example.answers == (Gold("runs", 10),)
    assert example.id == "1"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"data": 3}',
        b'{"data": []}',
        b'{"data": [{"paragraphs": [{"qas": [{}]}]}]}',
        json.dumps(document(start=5)).encode(),
        json.dumps(document(start=-1)).encode(),
        json.dumps(document(start=-10)).encode(),
        json.dumps(document(start=True)).encode(),
        json.dumps(document()).replace('"the fan', '7, "x": "').encode(),
        json.dumps(document(start=10_000)).encode(),
        json.dumps(document(answer="")).encode(),
        json.dumps(document()).replace("4", '"4"').encode(),
    ],
    ids=[
        *["empty", "truncated", "not-utf8", "list", "null", "no-list", "no-questions", "no-fields"],
        *["wrong-offset", "negative-offset", "offset-from-end", "true-as-offset"],
        *["context-no-text", "offset-behind-end", "empty-answer", "text-offset"],
    ],
)
def test_bad_data_is_one_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.json") as caught:
        read_squad(path)
    assert caught.value.code == "invalid_data"


def test_unanswerable_questions_of_v2_are_read_and_must_not_contradict_themselves(
    tmp_path: Path,
) -> None:
    path = tmp_path / "v2.json"
    read = document()
    qa = read["data"][0]["paragraphs"][0]["qas"][0]  # type: ignore[index]  # as written above
    plausible = qa["answers"]
    qa.update(answers=[], is_impossible=True, plausible_answers=plausible)
    path.write_text(json.dumps(read))
    assert read_squad(path)[0].answers == ()
    qa["is_impossible"] = False
    path.write_text(json.dumps(read))
    with pytest.raises(DataError, match=r"v2\.json: question '1': `is_impossible` is false, but"):
        read_squad(path)
    qa.update(answers=plausible, is_impossible=True)
    path.write_text(json.dumps(read))
    with pytest.raises(DataError, match="is true, but it has 1"):
        read_squad(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_squad(tmp_path / "none.json")
