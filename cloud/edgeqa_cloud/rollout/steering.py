"""One rollout, one look: facts, evidence, decision, transaction.

Thread: the engine's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import EdgeqaError
from edgeqa.operator import new_wish_id
from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout import facts
from edgeqa_cloud.rollout.baselines import Baseline
from edgeqa_cloud.rollout.commit import Change, Committer
from edgeqa_cloud.rollout.hearing import Hearing
from edgeqa_cloud.rollout.judging import judge
from edgeqa_cloud.rollout.machine import step
from edgeqa_cloud.rollout.model import GateResult, Joiner, Order, Outcome
from edgeqa_cloud.rollout.states import MemberState, RolloutState
from edgeqa_cloud.rollout.world import NOT_OURS, Course, World
from edgeqa_cloud.targets.resolve import resolve

# Evidence is gathered less often where it takes long: at most a tenth of the time.
_GATHER_REST = 10.0
_GATHER_MOST_S = 60.0
# Of a stage that has lasted for hours, some seconds more tell little: a share of its age.
_AGED_SHARE = 0.01
_AGED_MOST_S = 20.0
# A stage is not left on gates that are older.
_FRESH_S = 1.0
_JOIN_REST = 50.0
_MAX_JOINERS = 5000
_JUDGED = frozenset({RolloutState.RUNNING, RolloutState.PAUSED})


@dataclass(frozen=True, slots=True)
class Pace:
    """How often what costs more than a look is done, at most.

    Attributes:
        gather_s: evidence is gathered.
        join_s: devices that have come to match the target are looked for.
    """

    gather_s: float = 2.0
    join_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Done:
    """What a look did to a rollout.

    Attributes:
        wished: there are wishes to publish.
        again: the next look may have more to do, without anything new from outside.
        wrote: something was written.
    """

    wished: bool
    again: bool
    wrote: bool


class Steering:
    """Steers rollouts, one at a time.

    Args:
        database: to read.
        committer: writes.
        world: what is kept between looks.
        now_ms: our clock.
        monotonic: seconds.
        new_id: of wishes.
        pace: of what is not done at each look.
    """

    def __init__(
        self,
        *,
        database: Database,
        committer: Committer,
        world: World,
        now_ms: Callable[[], int],
        log: FilteringBoundLogger,
        monotonic: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = new_wish_id,
        pace: Pace | None = None,
    ) -> None:
        self._database = database
        self._committer = committer
        self._world = world
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._new_id = new_id
        self._log = log
        self._pace = pace or Pace()
        self._hearing = Hearing()

    def steer(self, course: Course, *, fresh: Collection[int], orders: Sequence[Order]) -> Done:
        """Look at a rollout, decide, and write what follows.

        Raises:
            LeaseLostError, OvertakenError: nothing was written.
            DBAPIError: what the database said; whether it was written, nobody knows.
        """
        self._find_joiners(course)
        judged = self._judge(course) if self._monotonic() >= course.gather_at else None
        outcome = self._decide(course, fresh, orders)
        stale = self._monotonic() - course.gates_at > _FRESH_S
        if judged is None and stale and _leaves_stage(course, outcome):
            judged = self._judge(course)
            outcome = self._decide(course, fresh, orders)
        change = Change(
            before=course.stored,
            outcome=outcome,
            orders=orders,
            gates=judged,
            baselines=self._turns(course, outcome),
        )
        if not change.empty:
            course.stored = self._committer.write(change)
        self._after(course, change)
        before, after = change.before.rollout, outcome.rollout
        moved = (before.stage, before.state) != (after.stage, after.state)
        return Done(
            wished=bool(outcome.wishes),
            again=moved or bool(outcome.wishes),
            wrote=not change.empty,
        )

    def _decide(self, course: Course, fresh: Iterable[int], orders: Iterable[Order]) -> Outcome:
        with self._database.reading() as connection:
            seen = facts.look(
                connection,
                self._world,
                course,
                fresh=fresh,
                orders=orders,
                now_ms=self._now_ms(),
                log=self._log,
            )
        return step(course.rollout, seen, new_id=self._new_id)

    def _judge(self, course: Course) -> Sequence[GateResult] | None:
        """Gather evidence and judge it; the results if they are others than before."""
        rollout = course.rollout
        began = self._monotonic()
        if rollout.state not in _JUDGED or rollout.stage_begun_ms is None:
            course.gather_at = began + self._pace.gather_s
            return None
        now_ms = self._now_ms()
        with self._database.reading() as connection:
            deaf = self._hearing.deaf(connection, now_ms=now_ms)
            evidence, pasts = course.gatherer.gather(connection, rollout, now_ms=now_ms, deaf=deaf)
        if pasts:
            self._committer.keep_pasts(course.stored, pasts)
            course.gatherer.reached(pasts)
        gates = judge(rollout.spec.gates, evidence)
        before = course.current_gates
        course.gates, course.gates_stage = gates, rollout.stage
        course.gates_at = self._monotonic()
        took_s = course.gates_at - began
        age_s = (now_ms - (rollout.stage_begun_ms or now_ms)) / 1000
        course.gather_at = course.gates_at + max(
            self._pace.gather_s,
            min(_GATHER_MOST_S, _GATHER_REST * took_s),
            min(_AGED_MOST_S, _AGED_SHARE * age_s),
        )
        return None if list(before) == list(gates) else gates

    def _find_joiners(self, course: Course) -> None:
        rollout = course.rollout
        began = self._monotonic()
        if (
            began < course.join_at
            or rollout.state not in _JUDGED
            or rollout.spec.joiners != "include"
        ):
            return
        try:
            with self._database.reading() as connection:
                found = resolve(connection, rollout.spec.target, now_ms=self._now_ms())
        except EdgeqaError as error:
            # A device that the target names is gone, for example.
            self._log.warning("target_unresolved", rollout=rollout.rollout, code=error.code)
            found = []
        new = [one for one in found if one.device_id not in rollout.members]
        course.joiners = [Joiner(one.device_id, one.device) for one in new[:_MAX_JOINERS]]
        took_s = self._monotonic() - began
        course.join_at = self._monotonic() + max(self._pace.join_s, _JOIN_REST * took_s)

    def _turns(self, course: Course, outcome: Outcome) -> dict[int, Baseline]:
        """The wishes that devices had whose turn has just come."""
        found = {}
        for device_id in outcome.changed:
            was = course.rollout.members.get(device_id)
            now = outcome.rollout.members[device_id]
            came = was is None or was.state is MemberState.WAITING
            report = self._world.reports.get(device_id)
            if came and now.state not in NOT_OURS and report is not None and report.wish:
                found[device_id] = Baseline(wish=report.wish)
        return found

    def _after(self, course: Course, change: Change) -> None:
        """The transaction was committed, or there was nothing to write."""
        outcome, before = change.outcome, change.before.rollout
        course.attention = set()
        course.joiners = ()
        course.gatherer.reached(change.baselines or {})
        reached = [
            device_id
            for device_id in outcome.changed
            if (was := before.members.get(device_id)) is None or was.state is MemberState.WAITING
            if outcome.rollout.members[device_id].state in _CLAIMING
        ]
        self._world.claimed(before.key, reached)
        if outcome.rollout.stage != before.stage or outcome.rollout.state != before.state:
            course.gather_at = 0.0
        for decision in outcome.decisions:
            self._log.info(
                "rollout_decided",
                rollout=before.rollout,
                action=decision.action,
                device=decision.device,
                actor=decision.actor,
            )
        for refusal in outcome.refusals:
            self._log.info(
                "order_refused",
                rollout=before.rollout,
                action=refusal.order.action,
                code=refusal.code,
            )


_CLAIMING = frozenset({MemberState.WISHED, MemberState.CHANGED})


def _leaves_stage(course: Course, outcome: Outcome) -> bool:
    before, after = course.rollout, outcome.rollout
    return after.stage != before.stage or (
        after.state is RolloutState.COMPLETED and before.state is not RolloutState.COMPLETED
    )
