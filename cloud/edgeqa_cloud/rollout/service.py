"""Rollouts for those who ask for them: the API, the page, and tests.

It reads, creates, and writes orders down; what becomes of a rollout is the engine's affair.

Thread: any; each call has transactions of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from edgeqa_cloud.database import Database, DatabaseError, reason
from edgeqa_cloud.rollout import queries
from edgeqa_cloud.rollout.creation import create, plan
from edgeqa_cloud.rollout.filters import (
    ALL_AUDIT,
    ALL_MEMBERS,
    ALL_ROLLOUTS,
    DEFAULT_PAGE,
    AuditFilter,
    MemberFilter,
    RolloutFilter,
)
from edgeqa_cloud.rollout.ordering import Wanted, find_order, place, wait_for
from edgeqa_cloud.rollout.refusals import UnknownRolloutError
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.states import Action
from edgeqa_cloud.rollout.views import (
    AuditPage,
    MemberPage,
    OrderView,
    Plan,
    RolloutPage,
    RolloutView,
)

# For an engine to obey; a person waits for it.
ORDER_WAIT_S = 3.0
# Where several people order exactly the same at the same moment.
_CREATE_TRIES = 5


class Rollouts:
    """What can be asked about rollouts, and of them.

    Args:
        database: migrated.
        now_ms: our clock.
        poke: wakes the engine of this process, if it has one.
        monotonic: for waiting.
        sleep: for waiting.
    """

    def __init__(
        self,
        *,
        database: Database,
        now_ms: Callable[[], int],
        poke: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database = database
        self._now_ms = now_ms
        self._poke = poke
        self._monotonic = monotonic
        self._sleep = sleep

    def plan(self, spec: RolloutSpec) -> Plan:
        """Who would get what, and when; nothing is done.

        Raises:
            EdgeqaError: as `create`.
        """
        with self._reading() as connection:
            return plan(connection, spec, now_ms=self._now_ms())

    def create(self, spec: RolloutSpec, *, actor: str) -> RolloutView:
        """Begin a rollout.

        Args:
            spec: what is ordered.
            actor: by whom: `user:anna`, `token:ci`.

        Raises:
            EdgeqaError: the package, the target, the stages or the gates will not do; nothing was
                written, and the code says which.
            DatabaseError: the database is away; nothing was written.
        """
        rollout = self._create(spec, actor)
        self._poke()
        return self.view(rollout)

    def order(
        self,
        rollout: str,
        action: Action,
        *,
        actor: str,
        note: str = "",
        revision: int | None = None,
        wait_s: float = ORDER_WAIT_S,
    ) -> OrderView:
        """Order something of a rollout, and wait a little for what becomes of it.

        Args:
            rollout: its public id.
            action: what is ordered.
            actor: by whom.
            note: why.
            revision: that the person has seen; None: whatever it is now.
            wait_s: for the engine; it obeys later too.

        Returns:
            The order: `obeyed`, `refused` with a reason, or still `waiting`.

        Raises:
            UnknownRolloutError: no such rollout.
            ChangedMeanwhileError: it is at another revision than that.
            OrderRefusedError: the order can make no sense in the rollout's state.
            DatabaseError: the database is away; nothing was ordered.
        """
        wanted = Wanted(action=action, actor=actor, note=note, revision=revision)
        with self._writing() as connection:
            order = place(connection, rollout, wanted, now_ms=self._now_ms())
        self._poke()

        def look() -> OrderView:
            with self._reading() as connection:
                return find_order(connection, order.order)

        try:
            return wait_for(look, wait_s=wait_s, monotonic=self._monotonic, sleep=self._sleep)
        except DatabaseError:
            return order  # it is written: an engine obeys it when the database is back

    def view(self, rollout: str) -> RolloutView:
        """A rollout whole.

        Raises:
            UnknownRolloutError: no such rollout.
            DatabaseError: the database is away.
        """
        with self._reading() as connection:
            found = queries.find_rollout(connection, rollout, now_ms=self._now_ms())
        if found is None:
            raise UnknownRolloutError(rollout)
        return found

    def check_known(self, rollout: str) -> None:
        """See that there is such a rollout.

        Raises:
            UnknownRolloutError: there is none.
            DatabaseError: the database is away.
        """
        with self._reading() as connection:
            if queries.find_key(connection, rollout) is None:
                raise UnknownRolloutError(rollout)

    def list_rollouts(
        self, which: RolloutFilter = ALL_ROLLOUTS, *, limit: int = DEFAULT_PAGE, offset: int = 0
    ) -> RolloutPage:
        """A page of rollouts, newest first.

        Raises:
            DatabaseError: the database is away.
        """
        with self._reading() as connection:
            return queries.list_rollouts(connection, which=which, limit=limit, offset=offset)

    def members(
        self,
        rollout: str,
        which: MemberFilter = ALL_MEMBERS,
        *,
        limit: int = DEFAULT_PAGE,
        offset: int = 0,
    ) -> MemberPage:
        """A page of a rollout's devices, in the order of their turns.

        Raises:
            UnknownRolloutError: no such rollout.
            DatabaseError: the database is away.
        """
        with self._reading() as connection:
            key = queries.find_key(connection, rollout)
            if key is None:
                raise UnknownRolloutError(rollout)
            return queries.list_members(connection, key, which=which, limit=limit, offset=offset)

    def audit(
        self, which: AuditFilter = ALL_AUDIT, *, limit: int = DEFAULT_PAGE, offset: int = 0
    ) -> AuditPage:
        """A page of the audit log, newest first.

        Raises:
            DatabaseError: the database is away.
        """
        with self._reading() as connection:
            return queries.list_audit(connection, which=which, limit=limit, offset=offset)

    def _create(self, spec: RolloutSpec, actor: str) -> str:
        tries = _CREATE_TRIES
        while True:
            try:
                with self._writing() as connection:
                    return create(connection, spec, actor=actor, now_ms=self._now_ms())
            except IntegrityError:  # the same was ordered at the same moment, and has the id
                tries -= 1
                if not tries:
                    raise

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._translated(), self._database.reading() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._translated(), self._database.writing() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except (DBAPIError, PoolTimeoutError) as error:
            raise DatabaseError(f"database {self._database.shown}: {reason(error)}") from error
