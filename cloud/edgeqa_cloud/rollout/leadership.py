"""Who steers rollouts: one engine at a time, whoever has the lease.

The lease is renewed inside every transaction that writes, so that an engine which has lost it, be
it by a pause of its machine, writes nothing. Publishing cannot be part of a transaction: `held`
ends some time before the lease does, and what still lies unpublished is the next one's.

Thread: any.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Connection

from edgeqa_cloud.database import Database
from edgeqa_cloud.leases import give_up, hold

LEASE = "rollouts"
# An engine that ends without a word is followed by another after this.
LEASE_MS = 10_000
# Shares of it. Not used: for clocks that differ, and for what was begun and is not stopped at once.
_MARGIN = 0.2
_RENEW_BELOW = 0.5


class LeaseLostError(Exception):
    """Another engine steers: nothing must be committed."""


class Leadership:
    """The lease of one engine.

    Args:
        holder: another name for each engine.
        now_ms: our clock.
        monotonic: seconds.
        lease_ms: of how long it is.
    """

    def __init__(
        self,
        *,
        holder: str,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
        lease_ms: int = LEASE_MS,
    ) -> None:
        self._holder = holder
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._lease_ms = lease_ms
        self._until = 0.0

    @property
    def held(self) -> bool:
        """Whether we may act for now without asking the database."""
        return self._monotonic() < self._until

    def renew(self, connection: Connection) -> None:
        """Take or keep the lease, as the first statement of a writing transaction.

        Raises:
            LeaseLostError: it is another's.
        """
        until = self._monotonic() + self._lease_ms / 1000 * (1 - _MARGIN)
        if not hold(
            connection, LEASE, holder=self._holder, now_ms=self._now_ms(), for_ms=self._lease_ms
        ):
            self.forget()
            raise LeaseLostError(self._holder)
        self._until = until

    def keep(self, database: Database) -> None:
        """Renew it where it is about to end.

        Raises:
            LeaseLostError: it is another's.
        """
        if self._until - self._monotonic() < self._lease_ms / 1000 * _RENEW_BELOW:
            with database.writing() as connection:
                self.renew(connection)

    def forget(self) -> None:
        """Act no more until it is renewed: it is lost, or nobody knows."""
        self._until = 0.0

    def give_up(self, database: Database) -> None:
        """Let another have it at once."""
        self.forget()
        with database.writing() as connection:
            give_up(connection, LEASE, holder=self._holder)
