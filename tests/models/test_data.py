"""Loading questions and making training rows of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny import make_tokenizer, questions, save_squad

from edgeqa.data.sources import load_examples
from edgeqa.errors import DataError
from edgeqa.reader.windows import Windower, WindowSizes
from edgeqa.squad import Example, Gold
from edgeqa_models.data import distinct, legible
from edgeqa_models.features import FeatureOptions, make_features

PLAIN = FeatureOptions(mismatched=0.0)


def windower(size: int = 384) -> Windower:
    return Windower(tokenizer=make_tokenizer(), sizes=WindowSizes(size, 8, 16))


def example(context: str, answer: str, start: int | None = None) -> Example:
    first = context.index(answer) if start is None else start
    return Example("q", "T", "what is it", context, (Gold(answer, first),))


def test_folders_and_files_are_read_in_order_and_repeats_can_be_dropped(tmp_path: Path) -> None:
    one = save_squad(tmp_path / "a.json", 5)
    save_squad(tmp_path / "b.json", 7)
    everything = load_examples([str(tmp_path), str(one)], split="train")
    assert len(everything) == 5 + 7 + 5  # a score counts each question of its data
    assert len(distinct(everything)) == 7


def test_questions_with_lost_words_are_left_out() -> None:
    kept = Example("1", "", "what is it", "c", ())
    assert legible([kept, Example("2", "", "what <unk> it", "c", ())]) == [kept]


def test_unknown_hub_id_offline_is_one_clear_line() -> None:
    with pytest.raises(DataError, match="without internet") as caught:
        load_examples(["nobody/no-such-data"], split="train")
    assert "nobody/no-such-data" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_empty_folder_and_no_source_are_errors(tmp_path: Path) -> None:
    for sources in ([str(tmp_path / "none.json")], [str(tmp_path)], []):
        with pytest.raises(DataError):
            load_examples(sources, split="train")


def test_wrong_offset_names_file_question_and_offset(tmp_path: Path) -> None:
    path = save_squad(tmp_path / "bad.json", 2)
    document = json.loads(path.read_text())
    document["data"][0]["paragraphs"][1]["qas"][0]["answers"][0]["answer_start"] += 1
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"bad\.json.*'q1'.*does not stand at character"):
        load_examples([str(path)], split="train")


def test_answer_positions_give_the_answer_back() -> None:
    cutter = windower()
    for question, context, start, answer in questions(30):
        row = Example("q", "T", question, context, (Gold(answer, start),))
        [feature] = make_features([row], cutter, PLAIN)
        window = cutter.cut(question, context)[0]
        first, last = feature["start_positions"], feature["end_positions"]
        shift = window.context.start
        assert context[window.starts[first - shift] : window.ends[last - shift]] == answer


@given(st.integers(0, 60), st.integers(1, 6), st.integers(24, 64))
@settings(max_examples=60, deadline=None)
def test_windows_that_cut_the_answer_point_at_cls(first: int, length: int, size: int) -> None:
    words = ["pump", "é🙂"] * 40
    context = " ".join(words)
    answer = " ".join(words[first : first + length])
    start = len(" ".join(words[:first])) + (first > 0)
    row = example(context, answer, start)
    cutter = windower(size)
    features = list(make_features([row], cutter, FeatureOptions(empty_windows=99, mismatched=0)))
    windows = cutter.cut(row.question, context)
    assert len(features) == len(windows)
    for feature in features:
        [window] = [w for w in windows if w.ids.tolist() == feature["input_ids"]][:1]
        if feature["start_positions"] == 0:
            assert feature["end_positions"] == 0
        else:
            begin = window.starts[feature["start_positions"] - window.context.start]
            end = window.ends[feature["end_positions"] - window.context.start]
            assert end - begin >= len(answer)
            assert answer in context[begin:end]


def test_long_answers_long_questions_and_empty_texts_make_no_rows() -> None:
    cutter = windower()
    rows = [
        example("pump " * 50, ("pump " * 31).strip()),
        Example("q", "T", "what " * 17, "pump", (Gold("pump", 0),)),
        Example("q", "T", "what", " \0 ", ()),
    ]
    assert list(make_features(rows, cutter, PLAIN)) == []


def test_unanswerable_questions_point_at_cls() -> None:
    [feature] = make_features([Example("q", "T", "what", "pump", ())], windower(), PLAIN)
    assert (feature["start_positions"], feature["end_positions"]) == (0, 0)


def test_rows_are_the_same_each_time() -> None:
    rows = [example(f"pump {word} valve", word) for word in ("red", "green", "light")] * 10
    options = FeatureOptions(mismatched=0.5, seed=5)
    assert list(make_features(rows, windower(), options)) == list(
        make_features(rows, windower(), options)
    )
