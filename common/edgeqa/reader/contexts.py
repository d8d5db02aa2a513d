"""Texts as tokens, kept for the next question about them.

A text that many questions are asked of, such as one stored on the device, is tokenised once: its
tokens do not depend on the question, only where its windows begin and end does. What is kept is
bounded in bytes; the text that was used longest ago goes first.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from edgeqa.errors import PayloadError

Ints = NDArray[np.int32]

# Some 800 paragraphs of SQuAD, or five texts of 100,000 characters.
CONTEXT_BYTES = 4 << 20
# Of a kept text beyond its characters and its numbers: five arrays, the record and the table's row.
# Source: `sys.getsizeof` of each, CPython 3.11 and numpy 2, 64 bits.
_OVERHEAD_BYTES = 900


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """A text as tokens, special tokens left out; int32[tokens] each.

    Attributes:
        ids: in the vocabulary.
        starts: first character of each token, in code points of the text.
        ends: behind the last character.
        word_firsts: first token of the word that a token is of; -1 where it is of none.
        word_lasts: last token of that word; -1 where it is of none.
    """

    ids: Ints
    starts: Ints
    ends: Ints
    word_firsts: Ints
    word_lasts: Ints

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def size_bytes(self) -> int:
        """Of all arrays."""
        columns = (self.ids, self.starts, self.ends, self.word_firsts, self.word_lasts)
        return sum(column.nbytes for column in columns)

    @classmethod
    def of(cls, encoding: Encoding) -> Tokens:
        """What an encoding of one text, without special tokens, says."""
        count = len(encoding)
        bounds = np.fromiter(chain.from_iterable(encoding.offsets), np.int32, 2 * count)
        word_ids = encoding.word_ids
        words = np.fromiter((-1 if w is None else w for w in word_ids), np.int64, count)
        firsts, lasts = _words(words)
        ids = np.fromiter(encoding.ids, np.int32, count)
        return cls(ids, bounds[::2].copy(), bounds[1::2].copy(), firsts, lasts)


def encode(tokenizer: Tokenizer, text: str) -> Encoding:
    """One text, without special tokens around it.

    Raises:
        PayloadError: `not_utf8`, it holds half a surrogate pair.
    """
    try:
        return tokenizer.encode(text, add_special_tokens=False)
    except (UnicodeError, TypeError) as error:
        raise PayloadError("the text holds half a surrogate pair", code="not_utf8") from error


def _words(words: NDArray[np.int64]) -> tuple[Ints, Ints]:
    """First and last token of the word of each token; a word's tokens are consecutive."""
    count = len(words)
    begins = np.flatnonzero(np.diff(words, prepend=-2))
    lengths = np.diff(begins, append=count)
    firsts = np.repeat(begins, lengths).astype(np.int32)
    lasts = np.repeat(begins + lengths - 1, lengths).astype(np.int32)
    firsts[words < 0] = -1
    lasts[words < 0] = -1
    return firsts, lasts


class ContextTokens:
    """Tokenises texts, and keeps the tokens of those that came last.

    Args:
        tokenizer: neither truncates nor pads.
        most_bytes: of what is kept; 0: nothing is.

    Thread: any.
    """

    def __init__(self, *, tokenizer: Tokenizer, most_bytes: int) -> None:
        self._tokenizer = tokenizer
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Tokens] = OrderedDict()
        self._bytes = 0

    @property
    def kept_bytes(self) -> int:
        """Of all that is kept."""
        return self._bytes

    def __contains__(self, text: object) -> bool:
        return text in self._kept

    def of(self, text: str) -> Tokens:
        """The tokens of a text.

        Raises:
            PayloadError: see `encode`.
        """
        with self._lock:
            tokens = self._kept.get(text)
            if tokens is not None:
                self._kept.move_to_end(text)
                return tokens
        tokens = Tokens.of(encode(self._tokenizer, text))
        self._keep(text, tokens)
        return tokens

    def _keep(self, text: str, tokens: Tokens) -> None:
        size = _size_bytes(text, tokens)
        if size > self._most_bytes:
            return
        with self._lock:
            if text in self._kept:  # two asked of it at the same time
                return
            self._kept[text] = tokens
            self._bytes += size
            while self._bytes > self._most_bytes:
                self._bytes -= _size_bytes(*self._kept.popitem(last=False))


def _size_bytes(text: str, tokens: Tokens) -> int:
    return sys.getsizeof(text) + tokens.size_bytes + _OVERHEAD_BYTES
