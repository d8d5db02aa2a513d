"""The evaluation set that ships: a fault in it would be measured as a fault of a model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edgeqa import evaluation_set
from edgeqa.errors import DataError
from edgeqa.squad import Example, normalise, read_squad

FOLDER = evaluation_set.PATH.parent
DOCUMENT = json.loads(evaluation_set.PATH.read_text(encoding="utf-8"))
PASSAGES = [p for article in DOCUMENT["data"] for p in article["paragraphs"]]
ROWS = [(qa, passage["context"]) for passage in PASSAGES for qa in passage["qas"]]
EXAMPLES = evaluation_set.load()
CHECKS = [qa for qa, _ in ROWS if "check" in qa]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def spans(qa: dict[str, Any]) -> list[dict[str, Any]]:
    """Accepted answers, or the plausible ones of a question without."""
    return [*qa["answers"], *qa.get("plausible_answers", [])]


def test_it_is_large_enough() -> None:
    assert len(PASSAGES) >= 40
    assert len(EXAMPLES) >= 200
    assert len(EXAMPLES) == len(ROWS)


def test_name_and_version_are_those_of_the_file() -> None:
    assert DOCUMENT["version"] == "v2.0"  # of the format, as SQuAD has it
    named = (DOCUMENT["name"], DOCUMENT["edition"], DOCUMENT["licence"])
    assert named == (evaluation_set.NAME, evaluation_set.VERSION, "CC-BY-4.0")
    assert re.fullmatch(r"[0-9a-f]{64}", evaluation_set.fingerprint())


def test_every_answer_is_a_span_at_its_offset_and_whole_words() -> None:
    for qa, context in ROWS:
        assert spans(qa), qa["id"]
        for answer in spans(qa):
            start, text = answer["answer_start"], answer["text"]
            end = start + len(text)
            near = [m.start() for m in re.finditer(re.escape(text), context)]
            assert context[start:end] == text, f"{qa['id']}: {text!r} stands at {near}"
            assert text == text.strip()
            assert normalise(text), qa["id"]
            assert not re.match(r"\w\w", context[max(0, start - 1) : start + 1]), qa["id"]
            assert not re.match(r"\w\w", context[end - 1 : end + 1]), qa["id"]


def test_answers_are_short_and_differ_from_one_another() -> None:
    for qa, _ in ROWS:
        texts = [answer["text"] for answer in qa["answers"]]
        assert len(set(texts)) == len(texts), qa["id"]
        assert all(len(text.split()) <= 20 for text in texts), qa["id"]
    shortest = [
        min(len(a["text"].split()) for a in qa["answers"]) for qa, _ in ROWS if qa["answers"]
    ]
    assert sum(length <= 5 for length in shortest) >= 0.85 * len(shortest)


def test_no_id_and_no_question_stands_twice() -> None:
    for counted in (
        Counter(example.id for example in EXAMPLES),
        Counter(" ".join(words(example.question)) for example in EXAMPLES),
        Counter(passage["context"] for passage in PASSAGES),
    ):
        assert max(counted.values()) == 1, counted.most_common(2)
    assert all(re.fullmatch(r"[a-z0-9-]+-\d+", example.id) for example in EXAMPLES)


def test_some_questions_have_no_answer_but_a_plausible_one() -> None:
    impossible = [qa for qa, _ in ROWS if qa["is_impossible"]]
    assert 0.10 <= len(impossible) / len(ROWS) <= 0.25
    assert all(qa["plausible_answers"] and not qa["answers"] for qa in impossible)
    assert {e.id for e in EXAMPLES if not e.answers} == {qa["id"] for qa in impossible}


def test_question_words_are_mixed() -> None:
    first = Counter(words(example.question)[0] for example in EXAMPLES)
    assert all(
        first[word] >= 15 for word in ("what", "how", "which", "where", "when", "why", "who")
    )
    assert first.most_common(1)[0][1] < len(EXAMPLES) / 3
    how = Counter(" ".join(words(e.question)[:2]) for e in EXAMPLES)
    assert all(how[f"how {word}"] >= 10 for word in ("many", "much", "long", "often", "far"))


def test_passages_are_of_readable_length_and_some_need_windows() -> None:
    lengths = [len(passage["context"].split()) for passage in PASSAGES]
    assert min(lengths) >= 20
    assert sum(60 <= length <= 180 for length in lengths) >= 40
    assert sum(length > 400 for length in lengths) >= 2
    assert all(len(words(example.question)) <= 64 for example in EXAMPLES)


def test_text_is_normalised_unicode_on_one_line() -> None:
    for qa, context in ROWS:
        for text in (context, qa["question"]):
            assert unicodedata.is_normalized("NFC", text)
            assert not any(unicodedata.category(ch) in {"Cc", "Cf", "Co", "Cn"} for ch in text)
            assert not re.search(r"\s\s|^\s|\s$", text), qa["id"]
        assert qa["question"].endswith("?"), qa["id"]
        assert context.endswith("."), qa["id"]


def test_no_two_passages_share_eight_words_in_a_row() -> None:
    """Each passage stands for itself; one copied from another would count twice."""
    owner: dict[tuple[str, ...], int] = {}
    for number, passage in enumerate(PASSAGES):
        tokens = words(passage["context"])
        for run in zip(*(tokens[shift:] for shift in range(8)), strict=False):
            assert owner.setdefault(run, number) == number, run


def test_check_questions_are_marked_and_answerable() -> None:
    assert 20 <= len(CHECKS) <= 40
    assert all(qa["check"] is True and qa["answers"] for qa in CHECKS)


def test_every_passage_is_asked_about() -> None:
    assert all(passage["qas"] for passage in PASSAGES)
    assert len(DOCUMENT["data"]) == len({article["title"] for article in DOCUMENT["data"]})


def test_the_licence_and_a_description_lie_beside_it() -> None:
    assert "CC-BY-4.0" in (FOLDER / "LICENSE").read_text(encoding="utf-8")
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"{len(PASSAGES)} passages" in readme
    assert f"{len(ROWS)} questions" in readme
    assert f"{len(CHECKS)} check questions" in readme
    assert evaluation_set.fingerprint() in readme


def test_it_reads_without_numpy_and_model_code() -> None:
    script = (
        "import sys; from edgeqa import evaluation_set; print(len(evaluation_set.load()));"
        "print({'numpy', 'onnxruntime', 'tokenizers', 'torch', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == [str(len(EXAMPLES)), "set()"]


@pytest.mark.parametrize("example", EXAMPLES[:1] + EXAMPLES[-1:], ids=lambda e: e.id)
def test_an_example_has_its_title_and_context(example: Example) -> None:
    assert example.title
    assert example.context


def test_a_damaged_copy_is_noticed(tmp_path: Path) -> None:
    whole = evaluation_set.PATH.read_text(encoding="utf-8")
    copy = tmp_path / "copy.json"
    copy.write_text(whole.replace("The fan", "Fan", 1), encoding="utf-8")
    with pytest.raises(DataError, match="does not stand at character"):
        read_squad(copy)
