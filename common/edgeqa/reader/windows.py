"""Cutting a text into overlapping windows of at most `max_seq_len` tokens.

Each window is `[CLS] question [SEP] part of the context [SEP]`; consecutive windows share
`doc_stride` context tokens, so that an answer cut by one edge stands whole in the next window.
Source: Devlin et al. 2019, section 4.2; the overlap is counted as `transformers` counts its
`doc_stride` (tokens shared, not tokens advanced).
"""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Encoding, Tokenizer

from edgeqa.errors import PayloadError

# Sequence ids that the tokenizer gives: question 0, context 1, special tokens none.
QUESTION = 0
CONTEXT = 1
# [CLS], and [SEP] behind question and context.
SPECIAL = 3


@dataclass(frozen=True, slots=True)
class WindowSizes:
    """The three sizes, in tokens, that a package fixes for its model."""

    max_seq_len: int
    doc_stride: int
    max_question_tokens: int


class Windower:
    """Cuts questions and contexts into windows; owns its tokenizer's truncation state.

    Thread: any (the tokenizer's truncation is set once, encoding itself is reentrant).
    """

    def __init__(self, *, tokenizer: Tokenizer, sizes: WindowSizes) -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(
            sizes.max_seq_len, stride=sizes.doc_stride, strategy="only_second"
        )
        self._tokenizer = tokenizer
        self._sizes = sizes

    def cut(self, question: str, context: str) -> list[Encoding]:
        """The windows of one question, in order of the text.

        Raises:
            PayloadError: the question has more than `max_question_tokens` tokens
                (`question_too_long`), none (`empty_question`), or the context holds no tokens
                (`empty_context`).
        """
        try:
            first = self._tokenizer.encode(question, context)
        except Exception as error:
            # Only the context is cut; a question that leaves it no room cannot be encoded.
            raise self._too_long(f"more than {self._sizes.max_seq_len - SPECIAL}") from error
        length = first.sequence_ids.count(QUESTION)
        if length == 0:
            raise PayloadError("the question holds no words", code="empty_question")
        if length > self._sizes.max_question_tokens:
            raise self._too_long(str(length))
        if CONTEXT not in first.sequence_ids:
            raise PayloadError("the context holds no words", code="empty_context")
        return [first, *first.overflowing]

    def _too_long(self, length: str) -> PayloadError:
        return PayloadError(
            f"the question has {length} tokens; this model reads at most "
            f"{self._sizes.max_question_tokens}",
            code="question_too_long",
        )
