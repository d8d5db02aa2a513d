"""Giving messages in quarantine their second chance."""

from __future__ import annotations

from dataclasses import dataclass

from edgeqa_cloud.database import Database
from edgeqa_cloud.faults import is_trouble
from edgeqa_cloud.quarantine import Choice, Keep, Kept, drop, kept
from edgeqa_cloud.reading import Arrival, Refused, read
from edgeqa_cloud.storage import Storage

_SOME = 200


@dataclass(frozen=True, slots=True)
class Retried:
    """How it went.

    Attributes:
        stored: messages that are in the database now, and out of quarantine.
        failed: those that stay, with why.
    """

    stored: int
    failed: list[tuple[Kept, str]]


def retry(database: Database, choice: Choice, *, most_bytes: int) -> Retried:
    """Try messages again, each in a transaction of its own.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is in trouble.
    """
    # Nothing is put into quarantine here: what fails is there already.
    storage = Storage(database=database, keep=Keep(rows=0, payload_bytes=0))
    stored, failed, after = 0, list[tuple[Kept, str]](), 0
    while True:
        with database.reading() as connection:
            some = kept(connection, choice, most=_SOME, after=after)
        if not some:
            return Retried(stored, failed)
        after = some[-1].id
        for one in some:
            why = _try(database, storage, one, most_bytes)
            if why is None:
                stored += 1
            else:
                failed.append((one, why))


def _try(database: Database, storage: Storage, one: Kept, most_bytes: int) -> str | None:
    """Why it failed; None if it is stored."""
    if not one.whole:
        return f"only {len(one.payload)} of its {one.size} bytes were kept"
    item = read(Arrival(one.topic, one.payload, one.size, one.received_ms), most_bytes=most_bytes)
    if isinstance(item, Refused):
        return f"{item.code}: {item.reason}"
    if item is not None:
        try:
            refused = storage.store([item], quarantining=False).refused
        except Exception as error:
            if is_trouble(error):
                raise
            return str(error).splitlines()[0]
        if refused:
            return f"{refused[0].code}: {refused[0].reason}"
    with database.writing() as connection:
        drop(connection, Choice(ids=(one.id,)))
    return None
