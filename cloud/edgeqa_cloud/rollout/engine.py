"""The engine: looks at rollouts, decides by the pure state machine, writes, and lets publish.

One look: read what is new, judge what the devices measured, ask `machine.step` what follows, write
it in one transaction, wake the deployer. Of several cloud processes one steers, by a lease. With
nothing under way a look is one statement that finds nothing.

Thread: one of its own, `rollouts`; `poke` from any.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, exists, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from structlog.typing import FilteringBoundLogger

from edgeqa_cloud.database import Database, reason
from edgeqa_cloud.rollout import facts, wish_rows
from edgeqa_cloud.rollout.commit import Committer
from edgeqa_cloud.rollout.deployer import Deployer
from edgeqa_cloud.rollout.leadership import Leadership, LeaseLostError
from edgeqa_cloud.rollout.model import Order
from edgeqa_cloud.rollout.states import MemberState, RolloutState
from edgeqa_cloud.rollout.steering import Pace, Steering
from edgeqa_cloud.rollout.store import FINAL_STATES, OvertakenError
from edgeqa_cloud.rollout.tables import rollout_members, rollout_orders, rollouts
from edgeqa_cloud.rollout.world import World
from edgeqa_cloud.tables import devices

# After a look that took long, so long more: an engine takes at most a third of a core, and where
# nothing happens, as with thousands of devices that are offline for days, a twentieth.
_REST = 2.0
_QUIET_REST = 20.0
_QUIET_MOST_S = 5.0
# Looks that follow at once because the last one changed something; then there is a pause.
_MOST_AT_ONCE = 50
_READY_EVERY_S = 0.1
# What failed for no reason that is known will fail again: not many tracebacks a minute.
_AFTER_A_BUG_S = 10.0
# Late reports to rollouts that could not be undone everywhere are looked for so often.
_MEND_EVERY_S = 5.0
_MENDABLE = (MemberState.REVERT_EXPIRED.value, MemberState.REVERT_FAILED.value)


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do."""

    under_way: bool
    wishes: bool
    mendable: frozenset[int]
    orders: dict[int, list[Order]]


class Engine:
    """Use `start`, `poke` and `stop`.

    Args:
        database: with the tables.
        leadership: the lease, shared with the deployer.
        deployer: started and stopped with this.
        every_s: between two looks.
        ready: whether the tables are there; until then it only waits.
        pace: of what is not done at each look.
        now_ms: our clock.
        monotonic: seconds.
    """

    def __init__(
        self,
        *,
        database: Database,
        leadership: Leadership,
        deployer: Deployer,
        every_s: float,
        now_ms: Callable[[], int],
        log: FilteringBoundLogger,
        ready: Callable[[], bool] = lambda: True,
        pace: Pace | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._leadership = leadership
        self._deployer = deployer
        self._every_s = every_s
        self._ready = ready
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._log = log
        self._world = World()
        self._steering = Steering(
            database=database,
            committer=Committer(database=database, leadership=leadership, now_ms=now_ms),
            world=self._world,
            now_ms=now_ms,
            monotonic=monotonic,
            log=log,
            pace=pace,
        )
        self._poked = threading.Event()
        self._stop = threading.Event()
        self._ill = False
        self._led = False
        self._wrote = False
        self._mend_at = 0.0
        self._mended_ms = 0
        self._thread = threading.Thread(target=self._run, name="rollouts", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._deployer.start()
        self._thread.start()

    def poke(self) -> None:
        """Look at once: something was created or ordered."""
        self._poked.set()

    def stop(self) -> None:
        """End after the transaction under way; another engine takes over at once."""
        self._stop.set()
        self._poked.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._deployer.stop()
        if self._led:
            try:
                self._leadership.give_up(self._database)
            except DBAPIError as error:
                self._log.info("lease_not_given_up", reason=reason(error))

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def leads(self) -> bool:
        """Whether it steers, and not another."""
        return self._leadership.held

    @property
    def under_way(self) -> int:
        """Rollouts that it keeps in memory."""
        return len(self._world.courses)

    def _run(self) -> None:
        while not self._ready():
            if self._stop.wait(_READY_EVERY_S):
                return
        wait_s = 0.0
        while not self._stop.is_set():
            self._poked.wait(wait_s)
            self._poked.clear()
            if self._stop.is_set():
                return
            began = self._monotonic()
            self._wrote = False
            try:
                self.round()
                self._well()
            except (DBAPIError, PoolTimeoutError) as error:
                self._troubled(error)
            except LeaseLostError:
                self._follow()
            except OvertakenError as error:
                self._log.warning("rollout_overtaken", rollout=str(error))
                self._world.clear()
            except Exception:  # noqa: BLE001  a thread's edge
                self._log.exception("rollouts_failed")
                self._world.clear()
                self._stop.wait(_AFTER_A_BUG_S)
            took_s = self._monotonic() - began
            wait_s = max(self._every_s, _REST * took_s)
            if not self._wrote:
                wait_s = max(wait_s, min(_QUIET_MOST_S, _QUIET_REST * took_s))

    def round(self) -> None:
        """Look until nothing changes any more.

        Raises:
            LeaseLostError: another engine steers.
            OvertakenError: somebody else has changed a rollout.
            DBAPIError: what the database said.
        """
        for _ in range(_MOST_AT_ONCE):
            if self._stop.is_set() or not self._look():
                return
            self._leadership.keep(self._database)

    def _look(self) -> bool:
        """One look at all rollouts; whether another may have more to do at once."""
        with self._database.reading() as connection:
            work = self._work(connection)
        if not (work.under_way or work.orders or work.wishes or work.mendable):
            self._world.drop_ended()
            return False
        if not self._leadership.held:
            self._world.clear()  # another may have steered meanwhile
        self._leadership.keep(self._database)
        self._lead()
        with self._database.reading() as connection:
            self._world.load(connection, also=work.mendable)
            fresh = facts.news(connection, self._world, now_ms=self._now_ms())
        again = wished = False
        # The newest first: what it takes over, the older ones see in the same look.
        for key in sorted(self._world.courses, reverse=True):
            if self._stop.is_set():
                break
            done = self._steering.steer(
                self._world.courses[key], fresh=fresh, orders=work.orders.get(key, ())
            )
            again |= done.again
            wished |= done.wished
            self._wrote |= done.wrote
        self._world.drop_ended()
        if wished or work.wishes:
            self._deployer.wake()
        return again

    def _work(self, connection: Connection) -> Work:
        under_way = select(
            exists().where(rollouts.c.state.not_in(FINAL_STATES)),
            exists().where(rollout_orders.c.state == "waiting"),
        )
        active, ordered = connection.execute(under_way).one()
        return Work(
            under_way=bool(active),
            wishes=wish_rows.any_unpublished(connection),
            mendable=self._mendable(connection),
            orders=facts.read_orders(connection) if ordered else {},
        )

    def _mendable(self, connection: Connection) -> frozenset[int]:
        """Rollouts that are over, and of whose missing devices one has reported since."""
        if self._monotonic() < self._mend_at:
            return frozenset()
        now_ms = self._now_ms()
        member = rollout_members.c
        query = (
            select(rollouts.c.id)
            .where(rollouts.c.state == RolloutState.UNDO_INCOMPLETE.value)
            .join(rollout_members, member.rollout_id == rollouts.c.id)
            .join(devices, devices.c.id == member.device_id)
            .where(
                member.state.in_(_MENDABLE),
                # Reports may be committed some time after they came.
                devices.c.reported_ms >= self._mended_ms - 60_000,
            )
            .distinct()
        )
        found = frozenset(row[0] for row in connection.execute(query))
        self._mend_at, self._mended_ms = self._monotonic() + _MEND_EVERY_S, now_ms
        return found

    def _lead(self) -> None:
        if not self._led:
            self._led = True
            self._log.info("rollouts_taken_over")
            self._deployer.wake()

    def _follow(self) -> None:
        self._world.clear()
        if self._led:
            self._led = False
            self._log.warning("rollouts_left_to_another")
        self._deployer.wake()

    def _troubled(self, error: Exception) -> None:
        # Whether the last transaction was committed, nobody knows: read all again.
        self._world.clear()
        if not self._ill:
            self._ill = True
            self._log.warning("rollouts_wait_for_database", reason=reason(error))

    def _well(self) -> None:
        if self._ill:
            self._ill = False
            self._log.info("rollouts_go_on")
