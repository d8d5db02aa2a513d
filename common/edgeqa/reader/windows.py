"""Cutting a text into overlapping windows of at most `max_seq_len` tokens.

Each window is `[CLS] question [SEP] part of the context [SEP]`; consecutive windows share
`doc_stride` context tokens, so that an answer cut by one edge stands whole in the next window.
Source: Devlin et al. 2019, section 4.2; the overlap is counted as `transformers` counts its
`doc_stride` (tokens shared, not tokens advanced). Question and context are tokenised apart, so that
the tokens of a context serve many questions; a test demands the windows that `tokenizers` gives
for the pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from edgeqa.errors import ModelLoadError, PayloadError
from edgeqa.reader.contexts import CONTEXT_BYTES, ContextTokens, Ints, Tokens, encode

# Sequence ids that the tokenizer gives: question 0, context 1, special tokens none.
QUESTION = 0
CONTEXT = 1

Column = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WindowSizes:
    """The three sizes, in tokens, that a package fixes for its model."""

    max_seq_len: int
    doc_stride: int
    max_question_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """One window, as a model reads it.

    Attributes:
        ids: int64[tokens].
        type_ids: int64[tokens]; which part a token is of.
        context: the tokens that belong to the context.
        text: all tokens of the context.
        skipped: how many of them stand before this window.
    """

    ids: Column
    type_ids: Column
    context: slice
    text: Tokens
    skipped: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def attention_mask(self) -> Column:
        """int64[tokens]; 1 for each, as none is padding."""
        return np.ones(len(self.ids), np.int64)

    @property
    def starts(self) -> Ints:
        """int32[context]; first character of each token of the context."""
        return self.text.starts[self._part]

    @property
    def ends(self) -> Ints:
        """int32[context]; behind the last character of each."""
        return self.text.ends[self._part]

    def characters(self, firsts: Ints, lasts: Ints) -> tuple[Ints, Ints]:
        """Where spans of tokens begin and end in the text, widened to whole words.

        A word that the window's edge cuts is as long as the window has of it. Where either end is a
        token of no word, the span is not widened.

        Args:
            firsts: int[spans]; first token of each in this window, of the context.
            lasts: int[spans]; last token of each, inside.

        Returns:
            First character and the one behind the last, in code points.
        """
        shift = self.skipped - self.context.start
        first, last = firsts + shift, lasts + shift
        word_first, word_last = self.text.word_firsts[first], self.text.word_lasts[last]
        whole = (word_first >= 0) & (word_last >= 0)
        end = self._part.stop - 1
        first = np.where(whole, np.maximum(word_first, self.skipped), first)
        last = np.where(whole, np.minimum(word_last, end), last)
        return self.text.starts[first], self.text.ends[last]

    @property
    def _part(self) -> slice:
        return slice(self.skipped, self.skipped + self.context.stop - self.context.start)


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """What a tokenizer puts around question and context: ids and types of its special tokens."""

    ids: tuple[Column, Column, Column]
    type_ids: tuple[Column, Column, Column]
    question_type: int
    context_type: int

    @property
    def special(self) -> int:
        """Tokens that are neither question nor context."""
        return sum(map(len, self.ids))

    def around(self, question: Column, part: Ints) -> tuple[Column, Column, slice]:
        """Ids and types of a window, and where its context is."""
        before, between, behind = self.ids
        ids = np.concatenate([before, question, between, part, behind], dtype=np.int64)
        start = len(before) + len(question) + len(between)
        context = slice(start, start + len(part))
        types = np.full(len(ids), self.question_type, np.int64)
        types[: len(before)] = self.type_ids[0]
        types[start - len(between) : start] = self.type_ids[1]
        types[context] = self.context_type
        types[context.stop :] = self.type_ids[2]
        return ids, types, context


def _frame_of(tokenizer: Tokenizer) -> _Frame:
    probe = tokenizer.encode("a", "b")
    parts = [
        (which, [index for index, _ in group])
        for which, group in groupby(enumerate(probe.sequence_ids), key=lambda pair: pair[1])
    ]
    if [which for which, _ in parts] != [None, QUESTION, None, CONTEXT, None]:
        raise ModelLoadError("the tokenizer does not build [CLS] question [SEP] context [SEP]")
    ids, types = np.array(probe.ids, np.int64), np.array(probe.type_ids, np.int64)
    before, question, between, context, behind = (part for _, part in parts)
    return _Frame(
        (ids[before], ids[between], ids[behind]),
        (types[before], types[between], types[behind]),
        int(types[question[0]]),
        int(types[context[0]]),
    )


class Windower:
    """Cuts questions and contexts into windows; owns its tokenizer's settings.

    Args:
        tokenizer: truncates and pads no more from now on.
        sizes: of the windows.
        context_bytes: of the tokens of contexts that are kept for other questions.

    Raises:
        ModelLoadError: the tokenizer does not build pairs as a reader needs them.

    Thread: any (encoding is reentrant).
    """

    def __init__(
        self, *, tokenizer: Tokenizer, sizes: WindowSizes, context_bytes: int = CONTEXT_BYTES
    ) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self._sizes = sizes
        self._frame = _frame_of(tokenizer)
        self._contexts = ContextTokens(tokenizer=tokenizer, most_bytes=context_bytes)

    def cut(self, question: str, context: str) -> list[Window]:
        """The windows of one question, in order of the text.

        Raises:
            PayloadError: the question has more than `max_question_tokens` tokens
                (`question_too_long`), none (`empty_question`), the context holds no tokens
                (`empty_context`), or one of them is not Unicode (`not_utf8`).
        """
        asked = np.array(encode(self._tokenizer, question).ids, np.int64)
        if not len(asked):
            raise PayloadError("the question holds no words", code="empty_question")
        room = self._sizes.max_seq_len - self._frame.special - len(asked)
        if len(asked) > self._sizes.max_question_tokens or room < 1:
            raise self._too_long(len(asked))
        text = self._contexts.of(context)
        if not len(text):
            raise PayloadError("the context holds no words", code="empty_context")
        if len(text) <= room:
            return [self._window(asked, text, 0, len(text))]
        step = room - self._sizes.doc_stride
        if step < 1:  # each window would begin where the one before it did
            raise self._too_long(len(asked))
        last = -(-(len(text) - room) // step) * step  # the first that reaches the end
        return [self._window(asked, text, begin, room) for begin in range(0, last + 1, step)]

    def _window(self, question: Column, text: Tokens, begin: int, room: int) -> Window:
        part = text.ids[begin : begin + room]
        return Window(*self._frame.around(question, part), text, begin)

    def _too_long(self, length: int) -> PayloadError:
        return PayloadError(
            f"the question has {length} tokens; this model reads at most "
            f"{self._sizes.max_question_tokens}",
            code="question_too_long",
        )
