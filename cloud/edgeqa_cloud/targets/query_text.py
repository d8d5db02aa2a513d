"""The words of a query: `model=minilm-l6-squad (em<70 or "Pi 4")`."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from edgeqa.errors import UsageError

# A query is written by a person; what is longer was not.
MAX_CHARS = 2000
_SHOWN_CHARS = 40
# Characters that no stored text holds: PostgreSQL takes neither NUL nor half a character.
_FORBIDDEN = {"Cc", "Cs"}
_BLANKS = " \t\r\n"
_WORD = re.compile(
    r"""(?P<blank>[ \t\r\n]+)
    |(?P<operator><=|>=|!=|=|~|<|>)
    |(?P<open>\()
    |(?P<close>\))
    |(?P<quoted>"(?:[^"\\]|\\.)*")
    |(?P<word>(?:[^ \t\r\n()"=~<>!]|!(?!=))+)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class QueryError(UsageError):
    """A query that says nothing; the message names the place and what belongs there."""

    code = "bad_query"


class Kind(StrEnum):
    """Of a token, in words for messages."""

    WORD = "a word"
    QUOTED = "a quoted text"
    OPERATOR = "an operator"
    OPEN = "an opening parenthesis"
    CLOSE = "a closing parenthesis"
    END = "the end"


@dataclass(frozen=True, slots=True)
class Token:
    """One of them.

    Attributes:
        text: without quotes.
        place: of its first character; 1 is the first of the query.
    """

    kind: Kind
    text: str
    place: int

    @property
    def shown(self) -> str:
        """For messages."""
        return "the end" if self.kind is Kind.END else repr(self.text[:_SHOWN_CHARS])


def tokens(text: str) -> list[Token]:
    """The tokens of a query, `END` last.

    Raises:
        QueryError: it is too long, a quotation does not end, or it holds control characters.
    """
    if len(text) > MAX_CHARS:
        raise QueryError(f"a query of {len(text)} characters; at most {MAX_CHARS} are taken")
    for place, char in enumerate(text, 1):
        if char not in _BLANKS and unicodedata.category(char) in _FORBIDDEN:
            raise wrong(place, f"character {char!r} cannot be searched for")
    found = []
    position = 0
    while position < len(text):
        match = _WORD.match(text, position)
        if match is None:  # all other characters begin a token
            raise wrong(position + 1, 'the quotation does not end; close it with "')
        if match.lastgroup != "blank":
            found.append(_token(match, position + 1))
        position = match.end()
    return [*found, Token(Kind.END, "", len(text) + 1)]


def wrong(place: int, what: str) -> QueryError:
    """The error that says where."""
    return QueryError(f"the query, at character {place}: {what}")


def _token(match: re.Match[str], place: int) -> Token:
    kind = Kind[str(match.lastgroup).upper()]
    text = match.group()
    if kind is Kind.QUOTED:
        text = _ESCAPED.sub(r"\1", text[1:-1])
    return Token(kind, text, place)
