"""All that follows from one decision, in one transaction, before anything is published.

The lease is renewed first and the rollout's revision checked, so that of two engines one writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, update

from edgeqa_cloud.database import Database
from edgeqa_cloud.reading import clean
from edgeqa_cloud.rollout import audit_log
from edgeqa_cloud.rollout.baselines import Baseline, write_baselines
from edgeqa_cloud.rollout.leadership import Leadership
from edgeqa_cloud.rollout.model import GateResult, Order, Outcome
from edgeqa_cloud.rollout.store import OvertakenError, Stored, save
from edgeqa_cloud.rollout.tables import rollout_orders
from edgeqa_cloud.rollout.wish_rows import insert_wishes


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be written.

    Attributes:
        before: the rollout as it was read.
        outcome: of `machine.step`.
        orders: that the step was given: obeyed, unless the outcome refuses them.
        gates: as just judged; None where they were not.
        baselines: of members whose turn has come.
    """

    before: Stored
    outcome: Outcome
    orders: Sequence[Order] = ()
    gates: Sequence[GateResult] | None = None
    baselines: Mapping[int, Baseline] | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is to be written."""
        outcome = self.outcome
        return (
            outcome.rollout == self.before.rollout
            and self.gates is None
            and not (outcome.changed or outcome.wishes or outcome.decisions or self.orders)
        )


class Committer:
    """Writes changes.

    Args:
        database: where.
        leadership: without which nothing is written.
    """

    def __init__(
        self, *, database: Database, leadership: Leadership, now_ms: Callable[[], int]
    ) -> None:
        self._database = database
        self._leadership = leadership
        self._now_ms = now_ms

    def write(self, change: Change) -> Stored:
        """Write all of it, or nothing; the rollout as it is then.

        Raises:
            LeaseLostError: another engine steers.
            OvertakenError: the rollout or an order is not what was read any more.
            DBAPIError: what the database said.
        """
        now_ms = self._now_ms()
        outcome, key = change.outcome, change.before.rollout.key
        with self._database.writing() as connection:
            self._leadership.renew(connection)
            after = save(
                connection,
                change.before,
                outcome.rollout,
                changed=outcome.changed,
                now_ms=now_ms,
                gates=None if change.gates is None else [_gate(one) for one in change.gates],
            )
            if change.baselines:
                write_baselines(connection, key, outcome.rollout.members, change.baselines)
            insert_wishes(connection, outcome.rollout, outcome.wishes, now_ms=now_ms)
            audit_log.append_all(
                connection, outcome.decisions, rollout=outcome.rollout.rollout, time_ms=now_ms
            )
            _close_orders(connection, change, now_ms)
        return after

    def keep_pasts(self, before: Stored, found: Mapping[int, Baseline]) -> None:
        """Baselines alone: they change nothing that is shown.

        Raises:
            LeaseLostError, DBAPIError: as `write`.
        """
        with self._database.writing() as connection:
            self._leadership.renew(connection)
            write_baselines(connection, before.rollout.key, before.rollout.members, found)


def _close_orders(connection: Connection, change: Change, now_ms: int) -> None:
    refused = {one.order.key: one for one in change.outcome.refusals}
    for order in change.orders:
        refusal = refused.get(order.key)
        values: dict[str, Any] = {"state": "obeyed", "done_ms": now_ms}
        if refusal is not None:
            values |= {
                "state": "refused",
                "code": refusal.code,
                "message": clean(refusal.message)[: audit_log.MAX_MESSAGE_CHARS],
            }
        done = connection.execute(
            update(rollout_orders)
            .where(rollout_orders.c.id == order.key, rollout_orders.c.state == "waiting")
            .values(values)
        )
        if done.rowcount != 1:
            raise OvertakenError(f"order {order.key}")


def _gate(one: GateResult) -> dict[str, Any]:
    plain: dict[str, Any] = audit_log.plain(asdict(one))
    return plain
