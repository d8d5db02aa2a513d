"""What the engine keeps in memory between two looks, while it holds the lease.

Rollouts that are under way, what devices last reported, and whose each device is: read once, then
kept up by what this engine itself writes and by what is new. Nothing here is needed after a crash.

Thread: the engine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from edgeqa_cloud.rollout.baselines import read_baselines
from edgeqa_cloud.rollout.device_now import Stamp
from edgeqa_cloud.rollout.evidence import Gatherer
from edgeqa_cloud.rollout.model import GateResult, Joiner, Member, Report, Rollout
from edgeqa_cloud.rollout.states import MemberState, RolloutState
from edgeqa_cloud.rollout.store import Stored, load_active
from edgeqa_cloud.rollout.tables import rollout_claims, rollouts

# Reports that are remembered of a device; a change makes some five.
_MOST_STAMPS = 32
# In one of these, a member's device has never been the rollout's, or is not any more.
NOT_OURS = frozenset({MemberState.WAITING, MemberState.UNTOUCHED, MemberState.SUPERSEDED})


@dataclass(slots=True)
class Course:
    """A rollout under way.

    Attributes:
        stored: as it is in the database.
        gatherer: of its evidence.
        attention: members to look at next time, whatever they are in.
        gates: of the stage `gates_stage`, as last judged.
        gates_at: when, seconds of a clock that is never set back.
        gather_at: when to gather evidence again.
        join_at: when to look for joiners again.
        joiners: found, and not yet decided on.
    """

    stored: Stored
    gatherer: Gatherer
    attention: set[int] = field(default_factory=set)
    gates: Sequence[GateResult] = ()
    gates_stage: int | None = None
    gates_at: float = 0.0
    gather_at: float = 0.0
    join_at: float = 0.0
    joiners: Sequence[Joiner] = ()

    @property
    def rollout(self) -> Rollout:
        """As it is."""
        return self.stored.rollout

    @property
    def current_gates(self) -> Sequence[GateResult]:
        """Those of the current stage; none where it has just begun."""
        return self.gates if self.gates_stage == self.rollout.stage else ()

    def next_waiting(self, most: int) -> list[Member]:
        """Whose turn may be now."""
        rollout = self.rollout
        if rollout.state is not RolloutState.RUNNING:
            return []
        waiting = [
            one
            for one in rollout.members.values()
            if one.state is MemberState.WAITING and one.stage <= rollout.stage
        ]
        waiting.sort(key=lambda one: one.position)
        return waiting[:most]


class World:
    """All that is under way."""

    def __init__(self) -> None:
        self.courses: dict[int, Course] = {}
        self.reports: dict[int, Report] = {}
        # Also of devices whose report is not worth keeping.
        self.reported_ms: dict[int, int] = {}
        # Of each device's last reports: one that comes again was replayed by somebody.
        self._stamps: dict[int, dict[Stamp, None]] = {}
        self.claims: dict[int, int] = {}
        self.names: dict[int, str] = {}
        # Up to here no report of a settled member was overlooked.
        self.seen_ms: int | None = None

    def clear(self) -> None:
        """Forget all: somebody else may steer now."""
        self.__init__()  # type: ignore[misc]  # as new

    def load(self, connection: Connection, *, also: Iterable[int] = ()) -> None:
        """Read what is new or was changed by somebody else; drop what is over."""
        known = {key: one.stored.revision for key, one in self.courses.items()}
        if not known:
            self._read_claims(connection)
        for stored in load_active(connection, known=known, also=also):
            rollout = stored.rollout
            before = self.courses.get(rollout.key)
            course = Course(
                stored=stored,
                gatherer=Gatherer(rollout, read_baselines(connection, rollout.key)),
                attention={
                    one.device_id for one in rollout.members.values() if one.state not in NOT_OURS
                },
            )
            if before is not None:
                course.join_at = before.join_at
            self.courses[rollout.key] = course
            self.names[rollout.key] = rollout.rollout

    def drop_ended(self) -> None:
        """Nothing is awaited of what is over; an order or a late report brings it back."""
        for key, course in list(self.courses.items()):
            if course.rollout.state.final:
                del self.courses[key]
        if not self.courses:
            self.reports.clear()
            self.reported_ms.clear()
            self._stamps.clear()
            self.claims.clear()
            self.seen_ms = None

    def heard(self, device_id: int, report: Report, stamp: Stamp, *, at_ms: int) -> bool:
        """Take in a report that came at a time; whether it is not an earlier one come again."""
        self.reported_ms[device_id] = at_ms
        stamps = self._stamps.setdefault(device_id, {})
        if stamp in stamps and stamp != next(reversed(stamps)):
            return False
        stamps[stamp] = None
        if len(stamps) > _MOST_STAMPS:
            del stamps[next(iter(stamps))]
        self.reports[device_id] = report
        return True

    def claimed(self, key: int, device_ids: Iterable[int]) -> None:
        """Devices are a rollout's now; older ones are to notice."""
        for device_id in device_ids:
            if self.claims.get(device_id, 0) < key:
                self.claims[device_id] = key
            for other, course in self.courses.items():
                if other < key and device_id in course.rollout.members:
                    course.attention.add(device_id)

    def newer_owner(self, key: int, device_id: int) -> str | None:
        """The newer rollout whose device it is."""
        owner = self.claims.get(device_id)
        if owner is None or owner <= key:
            return None
        return self.names.get(owner, "a newer rollout")

    def _read_claims(self, connection: Connection) -> None:
        self.claims = {
            row[0]: row[1]
            for row in connection.execute(
                select(rollout_claims.c.device_id, rollout_claims.c.rollout_id)
            )
        }
        self.names = {
            row[0]: row[1] for row in connection.execute(select(rollouts.c.id, rollouts.c.rollout))
        }
