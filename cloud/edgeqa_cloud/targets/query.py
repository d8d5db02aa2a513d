"""Queries over devices, as targets, filters of the API and search boxes take them.

`docs/targets.md` tells people how to write them.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement

from edgeqa_cloud.targets.query_parse import Node, parse_tree
from edgeqa_cloud.targets.query_sql import node_condition
from edgeqa_cloud.targets.query_text import QueryError

__all__ = ["Query", "QueryError", "condition", "parse"]


@dataclass(frozen=True, slots=True)
class Query:
    """One that makes sense; only `parse` makes it.

    Attributes:
        text: as it was written.
    """

    text: str
    root: Node


def parse(text: str) -> Query:
    """Read a query.

    Raises:
        QueryError: `bad_query`; the message names the place and what belongs there.
    """
    return Query(text, parse_tree(text))


def condition(query: Query, now_ms: int) -> ColumnElement[bool]:
    """The query as an expression over `devices`; true or false for each device, never null.

    Values are bound parameters, so that no text of a query is ever read as SQL.

    Args:
        now_ms: by our clock; for presence and ages.
    """
    return node_condition(query.root, now_ms)
