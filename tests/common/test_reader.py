"""Windows and spans: every answer is a part of the context, whatever the context is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.texts import HOSTILE, TEXT
from support.tiny import make_tokenizer

from edgeqa.errors import PayloadError
from edgeqa.reader.spans import WindowReading, merge, read_window
from edgeqa.reader.windows import CONTEXT, Windower, WindowSizes

SIZES = WindowSizes(max_seq_len=48, doc_stride=8, max_question_tokens=16)
MAX_ANSWER = 12
WINDOWER = Windower(tokenizer=make_tokenizer(), sizes=SIZES)

SLOW_IS_FINE = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def spans_of(text: str, seed: int, top_k: int = 5) -> list[tuple[str, int, int]]:
    """Answers that random logits give, over all windows of a text."""
    rng = np.random.default_rng(seed)
    windows = WINDOWER.cut("what is it", text)
    readings: list[WindowReading] = []
    for window in windows:
        start, end = rng.normal(0, 4, (2, len(window))).astype(np.float32)
        readings.append(
            read_window(start, end, window.context, max_answer_tokens=MAX_ANSWER, count=20)
        )
    spans, no_answer = merge(text, windows, readings, top_k=top_k)
    assert 0 <= no_answer <= 1
    return [(span.text, span.start, span.end) for span in spans]


@given(TEXT, st.integers(0, 2**32 - 1))
@SLOW_IS_FINE
def test_answers_are_parts_of_the_context(text: str, seed: int) -> None:
    try:
        spans = spans_of(text, seed)
    except PayloadError as error:
        assert error.code == "empty_context"  # noqa: PT017  white space and control characters
        return
    assert spans
    for answer, start, end in spans:
        assert 0 <= start < end <= len(text)
        assert answer == text[start:end]


@pytest.mark.parametrize("text", HOSTILE)
def test_each_hostile_text_is_answered_from_itself(text: str) -> None:
    for seed in range(20):
        for answer, start, end in spans_of(text, seed):
            assert answer == text[start:end]
            assert answer


def test_a_text_of_a_hundred_thousand_characters_is_covered() -> None:
    text = ("The pump 🙂 stops at 65 degrees e\u0301.\r\n" * 3000)[:100_000]
    windows = WINDOWER.cut("when does it stop", text)
    reached = 0
    for window in windows:
        assert window.starts[0] <= reached + 3  # no gap but white space and emoji
        reached = int(window.ends[-1])
    assert reached >= len(text.rstrip()) - 1
    for answer, start, end in spans_of(text, 1):
        assert answer == text[start:end]


@given(TEXT)
@SLOW_IS_FINE
def test_windows_are_bounded_overlap_and_leave_nothing_out(text: str) -> None:
    try:
        windows = WINDOWER.cut("what is it", text)
    except PayloadError:
        return
    whole = make_tokenizer().encode("what is it", text)
    wanted = [o for o, s in zip(whole.offsets, whole.sequence_ids, strict=True) if s == CONTEXT]
    got: list[tuple[int, int]] = []
    for index, window in enumerate(windows):
        assert len(window) <= SIZES.max_seq_len
        assert window.context.start > 0
        part = list(zip(window.starts.tolist(), window.ends.tolist(), strict=True))
        if index:
            assert part[: SIZES.doc_stride] == got[-SIZES.doc_stride :]
            part = part[SIZES.doc_stride :]
        got.extend(part)
    assert got == wanted


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_best_span_is_that_of_trying_all(tokens: int, longest: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    start, end = rng.normal(0, 3, (2, tokens + 3)).astype(np.float32)
    context = slice(2, tokens + 2)  # [CLS] question-token context… [SEP]
    [found] = read_window(start, end, context, max_answer_tokens=longest, count=1).candidates[:1]
    kept = [0, *range(context.start, context.stop)]
    p = np.exp(start[kept]) / np.exp(start[kept]).sum()
    q = np.exp(end[kept]) / np.exp(end[kept]).sum()
    best = max(
        float(p[1 + i] * q[1 + j])
        for i in range(tokens)
        for j in range(i, min(tokens, i + longest))
    )
    assert found.score == pytest.approx(best, rel=1e-4)
    assert context.start <= found.first <= found.last < context.stop
    assert found.last - found.first < longest


@pytest.mark.parametrize(
    ("question", "context", "code"),
    [
        ("", "pump", "empty_question"),
        (" \0\n", "pump", "empty_question"),
        ("what", "", "empty_context"),
        ("what", "\r\n \0", "empty_context"),
        ("pump " * 17, "pump", "question_too_long"),
        ("x" * 10 + " !" * 100, "pump", "question_too_long"),
    ],
)
def test_questions_that_cannot_be_read_have_their_code(
    question: str, context: str, code: str
) -> None:
    with pytest.raises(PayloadError) as caught:
        WINDOWER.cut(question, context)
    assert caught.value.code == code


def test_longest_question_still_lets_windows_advance() -> None:
    windows = WINDOWER.cut("pump " * 16, "valve " * 500)
    assert sum(len(window.ids) for window in windows) > 500


def test_equal_answers_of_two_windows_count_once() -> None:
    spans = spans_of("pump " * 200, 3, top_k=5)
    assert len({answer.lower() for answer, _, _ in spans}) == len(spans)
