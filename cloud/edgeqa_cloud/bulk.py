"""Many rows in one statement: the fastest way that each database has, behind one call.

SQLite takes a prepared statement and the rows one after the other, without leaving the process.
PostgreSQL takes one array for each column and unfolds them itself: one round trip, whatever the
number of rows. Both do the same `INSERT … ON CONFLICT`, built by SQLAlchemy from one table.

Invariant: rows of one call differ in their key. Values of JSON columns are JSON text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, Text, bindparam, cast, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import JSON, LargeBinary, String

Row = tuple[Any, ...]
# What a conflicting row is changed to: from the excluded (new) row's columns.
Changes = Callable[[Any], dict[str, Any]]


class Upsert:
    """An insert into some columns of a table.

    Args:
        table: where.
        columns: names, in the order of a row's values.
        key: columns whose conflict is expected; none: there is no conflict.
        changes: of the row that is there; None leaves it as it is.
        where: which of those rows change.
        returning: give back the key of each row that was inserted or changed (PostgreSQL only).
    """

    def __init__(
        self,
        table: Table,
        columns: Sequence[str],
        *,
        key: Sequence[str] = (),
        changes: Changes | None = None,
        where: Callable[[Any], ColumnElement[bool]] | None = None,
        returning: bool = False,
    ) -> None:
        self.columns = tuple(columns)
        self._table = table
        self._key = tuple(key)
        self._changes = changes
        self._where = where
        self._returning = returning

    def run(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Insert; how many rows were inserted or changed."""
        if not rows:
            return 0
        if connection.dialect.name == "sqlite":
            return connection.exec_driver_sql(self._for_sqlite, list(rows)).rowcount
        return connection.exec_driver_sql(self._for_postgresql, self._arrays(rows)).rowcount

    def run_returning(self, connection: Connection, rows: Sequence[Row]) -> list[Row]:
        """The same on PostgreSQL; the keys of the rows that were inserted or changed."""
        result = connection.exec_driver_sql(self._for_postgresql, self._arrays(rows))
        return [tuple(row) for row in result]

    def _arrays(self, rows: Sequence[Row]) -> dict[str, str]:
        values = zip(*rows, strict=True)
        return {name: array_text(some) for name, some in zip(self.columns, values, strict=True)}

    @cached_property
    def _for_sqlite(self) -> str:
        statement = sqlite.insert(self._table).values(
            {name: bindparam(name, type_=Text()) for name in self.columns}
        )
        compiled = self._on_conflict(statement).compile(dialect=sqlite.dialect())
        order = tuple(compiled.positiontup or ())
        if order != self.columns:
            raise TypeError(f"{self._table.name}: columns must stand as {order}")
        return str(compiled)

    @cached_property
    def _for_postgresql(self) -> str:
        columns = [self._table.c[name] for name in self.columns]
        arrays = [
            bindparam(one.name, type_=postgresql.ARRAY(_element(one)), unique=False)
            for one in columns
        ]
        rows = func.unnest(*arrays).table_valued(*self.columns, name="new_rows").render_derived()
        source = select(*(_back(rows.c[one.name], one) for one in columns))
        statement = self._on_conflict(
            postgresql.insert(self._table).from_select(self.columns, source)
        )
        if self._returning:
            statement = statement.returning(*(self._table.c[name] for name in self._key))
        return str(statement.compile(dialect=_psycopg()))

    def _on_conflict(self, statement: Any) -> Any:
        if not self._key:
            return statement
        if self._changes is None:
            return statement.on_conflict_do_nothing(index_elements=self._key)
        return statement.on_conflict_do_update(
            index_elements=self._key,
            set_=self._changes(statement.excluded),
            where=None if self._where is None else self._where(statement.excluded),
        )


def array_text(values: Iterable[Any]) -> str:
    """An array as PostgreSQL writes it; psycopg makes one element by element, fifty times slower.

    Source: PostgreSQL manual, "Array Input and Output Syntax".
    """
    return "{" + ",".join(map(_element_text, values)) + "}"


def _element_text(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, bytes):
        return '"\\\\x' + value.hex() + '"'
    return repr(value)


def _psycopg() -> Any:
    from sqlalchemy.dialects.postgresql import psycopg  # noqa: PLC0415  only where PostgreSQL is used

    return psycopg.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


def _element(column: Column[Any]) -> Any:
    # Not VARCHAR(n): the cast of the array would cut longer texts, instead of refusing them.
    if isinstance(column.type, (JSON, String)):
        return Text()
    if isinstance(column.type, LargeBinary):
        return postgresql.BYTEA()
    return column.type


def _back(value: ColumnElement[Any], column: Column[Any]) -> ColumnElement[Any]:
    return cast(value, column.type) if isinstance(column.type, JSON) else value
