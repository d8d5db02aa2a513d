"""Whether the database refused a row or is in trouble itself. Pure."""

from __future__ import annotations

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

# PostgreSQL: a deadlock, or another transaction was first. Trying again at once will do.
_AGAIN = frozenset({"40001", "40P01"})


def is_trouble(error: BaseException) -> bool:
    """Whether it is the database's trouble, so that all waits until it is over.

    Anything else is one row's fault: a value out of range, a character that cannot be stored, or a
    mistake of ours that this row brings to light.
    """
    return isinstance(error, DBAPIError) and not isinstance(error, (DataError, IntegrityError))


def is_passing(error: BaseException) -> bool:
    """Whether the same transaction is likely to succeed when it is tried again at once."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) in _AGAIN
