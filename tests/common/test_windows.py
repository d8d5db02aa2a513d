"""The windows made of a kept text's tokens are those that `tokenizers` gives for the pair."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.texts import HOSTILE, TEXT
from support.tiny import make_tokenizer
from tokenizers import Encoding, Tokenizer, processors

from edgeqa.errors import ModelLoadError, PayloadError
from edgeqa.manifest import TOKENIZER_FILE
from edgeqa.reader.contexts import ContextTokens
from edgeqa.reader.windows import CONTEXT, Window, Windower, WindowSizes
from edgeqa_agent.settings import default_package

QUESTION = st.one_of(
    st.sampled_from(["what is it", "pump", "[SEP] who [CLS]?", "e\u0301a\u0308 漢字?", "##s"]),
    st.text(min_size=1, max_size=12),
)
# Every stride and every place of a window's edge comes up: lengths from a few tokens on.
SIZES = st.builds(
    WindowSizes,
    max_seq_len=st.integers(24, 64),
    doc_stride=st.integers(0, 12),
    max_question_tokens=st.just(8),
)
TINY = make_tokenizer()
DEFAULT = Tokenizer.from_file(str(default_package() / TOKENIZER_FILE))
# The same, each with settings of its own.
TRUNCATING = {id(one): Tokenizer.from_str(one.to_str()) for one in (TINY, DEFAULT)}
SLOW_IS_FINE = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def pairs(tokenizer: Tokenizer, sizes: WindowSizes, question: str, text: str) -> list[Encoding]:
    """What `tokenizers` makes of question and text, truncated."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(sizes.max_seq_len, stride=sizes.doc_stride, strategy="only_second")
    first = tokenizer.encode(question, text)
    return [first, *first.overflowing]


def assert_equal(window: Window, encoding: Encoding) -> None:
    assert window.ids.tolist() == encoding.ids
    assert window.type_ids.tolist() == encoding.type_ids
    assert window.attention_mask.tolist() == encoding.attention_mask
    inside = [index for index, which in enumerate(encoding.sequence_ids) if which == CONTEXT]
    assert list(range(len(window)))[window.context] == inside
    offsets = list(zip(window.starts.tolist(), window.ends.tolist(), strict=True))
    assert offsets == encoding.offsets[window.context]
    some = inside[:: max(1, len(inside) // 12)]
    spans = list(itertools.combinations_with_replacement([*some, inside[-1]], 2))
    firsts, lasts = np.array(spans, np.int32).T
    starts, ends = window.characters(firsts, lasts)
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == [
        whole_words(encoding, *span) for span in spans
    ]


def whole_words(encoding: Encoding, first: int, last: int) -> tuple[int, int]:
    words = encoding.token_to_word(first), encoding.token_to_word(last)
    if words[0] is None or words[1] is None:
        return encoding.offsets[first][0], encoding.offsets[last][1]
    return (
        encoding.word_to_chars(words[0], sequence_index=CONTEXT)[0],
        encoding.word_to_chars(words[1], sequence_index=CONTEXT)[1],
    )


@pytest.mark.parametrize("tokenizer", [TINY, DEFAULT], ids=["tiny", "default"])
@given(question=QUESTION, text=TEXT, sizes=SIZES)
@SLOW_IS_FINE
def test_windows_are_those_of_the_pair(
    tokenizer: Tokenizer, question: str, text: str, sizes: WindowSizes
) -> None:
    windower = Windower(tokenizer=tokenizer, sizes=sizes)
    try:
        windows = windower.cut(question, text)
    except PayloadError as error:
        whole = tokenizer.encode(question, text).sequence_ids
        asked, given = whole.count(0), whole.count(CONTEXT)
        if not asked:
            assert error.code == "empty_question"  # noqa: PT017  the reason is the point
        elif asked > sizes.max_question_tokens:
            assert error.code == "question_too_long"  # noqa: PT017
        else:
            assert (error.code, given) == ("empty_context", 0)  # noqa: PT017
        return
    expected = pairs(TRUNCATING[id(tokenizer)], sizes, question, text)
    assert len(windows) == len(expected)
    for window, encoding in zip(windows, expected, strict=True):
        assert_equal(window, encoding)
    for again, window in zip(windower.cut(question, text), windows, strict=True):  # now it is kept
        assert again.ids.tolist() == window.ids.tolist()
        assert again.text is window.text


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("stride", range(13))
def test_every_stride_over_each_hostile_text(text: str, stride: int) -> None:
    sizes = WindowSizes(max_seq_len=25, doc_stride=stride, max_question_tokens=8)
    windower = Windower(tokenizer=DEFAULT, sizes=sizes)
    long = f"{text} the pump 🙂 " * 7
    expected = pairs(TRUNCATING[id(DEFAULT)], sizes, "what is it?", long)
    windows = windower.cut("what is it?", long)
    assert len(windows) == len(expected)
    for window, encoding in zip(windows, expected, strict=True):
        assert_equal(window, encoding)


def test_a_frame_of_other_special_tokens_is_kept() -> None:
    tokenizer = make_tokenizer()
    cls, sep = (tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] [SEP]:1 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls), ("[SEP]", sep)],
    )
    sizes = WindowSizes(max_seq_len=24, doc_stride=3, max_question_tokens=8)
    other = Tokenizer.from_str(tokenizer.to_str())
    windows = Windower(tokenizer=tokenizer, sizes=sizes).cut("what is it", "valve pump " * 40)
    expected = pairs(other, sizes, "what is it", "valve pump " * 40)
    assert len(windows) == len(expected) > 1
    for window, encoding in zip(windows, expected, strict=True):
        assert_equal(window, encoding)


def test_a_tokenizer_that_builds_no_pairs_is_refused() -> None:
    tokenizer = make_tokenizer()
    tokenizer.post_processor = None
    with pytest.raises(ModelLoadError, match="does not build"):
        Windower(tokenizer=tokenizer, sizes=WindowSizes(48, 8, 16))


def test_a_question_that_leaves_a_long_text_no_room_to_advance_is_refused() -> None:
    """`tokenizers` panics here, past every `except Exception`."""
    windower = Windower(tokenizer=make_tokenizer(), sizes=WindowSizes(48, 16, 40))
    assert len(windower.cut("pump " * 30, "valve")) == 1
    for length in (29, 30, 40, 44, 45, 46, 100):
        with pytest.raises(PayloadError) as caught:
            windower.cut("pump " * length, "valve " * 100)
        assert caught.value.code == "question_too_long"
        assert str(length) in str(caught.value)


def test_half_a_surrogate_pair_is_refused() -> None:
    windower = Windower(tokenizer=make_tokenizer(), sizes=WindowSizes(48, 8, 16))
    for pair in (("\ud800", "pump"), ("what", "pump \udfff")):
        with pytest.raises(PayloadError) as caught:
            windower.cut(*pair)
        assert caught.value.code == "not_utf8"


def test_kept_texts_are_bounded_and_the_one_used_longest_ago_goes() -> None:
    texts = [f"pump {number} " * 20 for number in range(30)]
    contexts = ContextTokens(tokenizer=make_tokenizer(), most_bytes=20_000)
    for text in texts:
        assert len(contexts.of(text)) == len(contexts.of(text)) > 0
        contexts.of(texts[0])
        assert contexts.kept_bytes <= 20_000
    kept = [text for text in texts if text in contexts]
    assert 2 < len(kept) < 20
    assert kept == [texts[0], *texts[31 - len(kept) :]]
    before = contexts.of(texts[0])
    contexts.of("pump " * 100_000)  # larger than the bound: nothing goes for it
    assert contexts.of(texts[0]) is before


def test_nothing_is_kept_where_there_is_no_room() -> None:
    contexts = ContextTokens(tokenizer=make_tokenizer(), most_bytes=0)
    assert contexts.of("pump") is not contexts.of("pump")
    assert contexts.kept_bytes == 0
