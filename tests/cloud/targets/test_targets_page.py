"""docs/targets.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeqa_cloud.targets.query import QueryError, parse
from edgeqa_cloud.targets.query_fields import FIELDS, Operator, Type, comparison
from edgeqa_cloud.targets.query_parse import MAX_DEPTH, MAX_TERMS
from edgeqa_cloud.targets.query_text import MAX_CHARS, Kind, Token
from edgeqa_cloud.targets.tags import MAX_TAGS

PAGE = (Path(__file__).parents[3] / "docs" / "targets.md").read_text(encoding="utf-8")


def test_examples_are_queries() -> None:
    examples = re.findall(r"```query\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == 7
    for text in examples:
        parse(text)


def test_the_error_is_as_it_is_told() -> None:
    with pytest.raises(QueryError) as caught:
        parse("em<70 seen=1h")
    assert f"edgeqa: {caught.value} [bad_query]" in PAGE


def test_the_table_has_all_fields_with_their_operators() -> None:
    rows = {
        name: (meaning, re.findall(r"`([^`]+)`", operators))
        for name, meaning, operators in re.findall(r"\| `(\w+)` \| (.+) \| (`[^|]+`) \|", PAGE)
    }
    for field in FIELDS.values():
        meaning, operators = rows[field.name]
        assert meaning.startswith(field.meaning)
        assert operators == [one for one in Operator if accepts(field.name, one)]


def accepts(name: str, operator: Operator) -> bool:
    value = {Type.PRESENCE: "online", Type.SPAN: "1h"}.get(FIELDS[name].type, "1")
    try:
        comparison(*(Token(Kind.WORD, text, 1) for text in (name, operator, value)))
    except QueryError:
        return False
    return True


def test_bounds_are_as_they_are_told() -> None:
    assert f"At most {MAX_CHARS:,} characters, {MAX_TERMS} terms, {MAX_DEPTH} parentheses" in PAGE
    assert f"at most {MAX_TAGS} for each device" in PAGE
