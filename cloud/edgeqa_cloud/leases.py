"""Leases: a job that one collector at a time may do. One that ends silently loses its lease."""

from __future__ import annotations

from sqlalchemy import Connection, delete, or_, update

from edgeqa_cloud.bulk import Upsert
from edgeqa_cloud.tables import leases

_NEW = Upsert(leases, ("name", "holder", "until_ms"), key=("name",))


def hold(connection: Connection, name: str, *, holder: str, now_ms: int, for_ms: int) -> bool:
    """Take a lease, or keep it; whether it is ours.

    Args:
        connection: a writing transaction.
        name: of the job.
        holder: who asks; another name for each collector.
        now_ms: by our clock. Clocks of collectors may differ by less than `for_ms`.
        for_ms: how long it is ours unless it is renewed.
    """
    mine = or_(leases.c.holder == holder, leases.c.until_ms < now_ms)
    change = (
        update(leases)
        .where(leases.c.name == name, mine)
        .values(holder=holder, until_ms=now_ms + for_ms)
    )
    if connection.execute(change).rowcount:
        return True
    return _NEW.run(connection, [(name, holder, now_ms + for_ms)]) == 1


def give_up(connection: Connection, name: str, *, holder: str) -> None:
    """Let the next one have it at once."""
    connection.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))
