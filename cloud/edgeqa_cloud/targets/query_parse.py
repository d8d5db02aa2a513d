"""A query as a tree. Bounded in length, in terms and in depth, whatever it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from edgeqa_cloud.targets.query_fields import Comparison, comparison
from edgeqa_cloud.targets.query_text import Kind, QueryError, Token, tokens, wrong

# Of nested parentheses and `not`s, and of terms: more than a person keeps apart.
MAX_DEPTH = 20
MAX_TERMS = 100
_TERM = "a term such as em<70, a word to search for, not, or an opening parenthesis"


@dataclass(frozen=True, slots=True)
class Words:
    """A text to search for: in the id, the board and the model's name."""

    text: str


@dataclass(frozen=True, slots=True)
class Not:
    """Not that."""

    part: Node


@dataclass(frozen=True, slots=True)
class All:
    """All of these: `a b`."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """At least one of these: `a or b`."""

    parts: tuple[Node, ...]


Node: TypeAlias = Comparison | Words | Not | All | Any


def parse_tree(text: str) -> Node:
    """The tree of a query.

    Raises:
        QueryError: it is none.
    """
    parser = _Parser(tokens(text))
    return parser.whole()


class _Parser:
    """Recursive descent: `or` binds least, then the blank (and), then `not`."""

    def __init__(self, words: Sequence[Token]) -> None:
        self._words = words
        self._next = 0
        self._terms = 0

    def whole(self) -> Node:
        if self._at(Kind.END):
            raise QueryError("the query is empty; leave it out to mean all devices")
        node = self._any(0)
        if not self._at(Kind.END):
            # `_any` ends at nothing but this and the end.
            raise wrong(self._token.place, "this parenthesis closes none")
        return node

    @property
    def _token(self) -> Token:
        return self._words[self._next]

    def _at(self, *kinds: Kind) -> bool:
        return self._token.kind in kinds

    def _take(self) -> Token:
        token = self._token
        self._next += 1
        return token

    def _is_word(self, word: str) -> bool:
        return self._at(Kind.WORD) and self._token.text.lower() == word

    def _any(self, depth: int) -> Node:
        parts = [self._all(depth)]
        while self._is_word("or"):
            self._take()
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _all(self, depth: int) -> Node:
        parts = [self._not(depth)]
        while not self._at(Kind.END, Kind.CLOSE) and not self._is_word("or"):
            if self._is_word("and"):
                self._take()
            parts.append(self._not(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _not(self, depth: int) -> Node:
        token = self._token
        if depth > MAX_DEPTH:
            raise wrong(token.place, f"more than {MAX_DEPTH} parentheses and nots in each other")
        if self._is_word("not"):
            self._take()
            return Not(self._not(depth + 1))
        if token.kind is Kind.OPEN:
            self._take()
            node = self._any(depth + 1)
            if not self._at(Kind.CLOSE):
                raise wrong(token.place, "this parenthesis is not closed")
            self._take()
            return node
        return self._term()

    def _term(self) -> Node:
        token = self._take()
        if token.kind not in {Kind.WORD, Kind.QUOTED} or _is_keyword(token):
            raise wrong(token.place, f"expected {_TERM}, not {token.shown}")
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise wrong(token.place, f"at most {MAX_TERMS} terms are taken")
        if token.kind is Kind.WORD and self._at(Kind.OPERATOR):
            operator, value = self._take(), self._take()
            if value.kind not in {Kind.WORD, Kind.QUOTED}:
                raise wrong(
                    value.place, f"expected a value after {operator.text}, not {value.shown}"
                )
            return comparison(token, operator, value)
        if not token.text:
            raise wrong(token.place, "nothing to search for between the quotes")
        return Words(token.text)


def _is_keyword(token: Token) -> bool:
    return token.kind is Kind.WORD and token.text.lower() in {"or", "and", "not"}
