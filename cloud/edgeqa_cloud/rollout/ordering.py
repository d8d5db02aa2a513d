"""Placing an order, and seeing what becomes of it.

An order is a row that the engine reads. It holds also where no engine runs now: the next one obeys
it, or refuses it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from edgeqa_cloud.reading import clean
from edgeqa_cloud.rollout.allowed import why_not
from edgeqa_cloud.rollout.refusals import (
    ChangedMeanwhileError,
    OrderRefusedError,
    UnknownRolloutError,
)
from edgeqa_cloud.rollout.standing import current_gates, order_view
from edgeqa_cloud.rollout.states import Action, RolloutState
from edgeqa_cloud.rollout.tables import rollout_orders, rollouts
from edgeqa_cloud.rollout.views import OrderView
from edgeqa_cloud.targets.columns import is_storable

# Of one rollout, that wait for an engine: where none runs, impatience must not fill the table.
MAX_WAITING = 100
# Between two looks at an order: an engine that was poked has obeyed it after some milliseconds,
# one in another process within its `rollouts_every_s`.
FIRST_LOOK_S = 0.02
LAST_LOOK_S = 0.25


@dataclass(frozen=True, slots=True)
class Wanted:
    """An order as it is given.

    Attributes:
        actor: who: `user:anna`, `token:ci`.
        revision: of the rollout that the person has seen; None: whatever it is.
    """

    action: Action
    actor: str
    note: str = ""
    revision: int | None = None


def place(connection: Connection, rollout: str, wanted: Wanted, *, now_ms: int) -> OrderView:
    """Write an order down.

    Args:
        connection: a writing transaction.
        rollout: its public id.
        wanted: the order.
        now_ms: by our clock.

    Raises:
        UnknownRolloutError: no such rollout.
        ChangedMeanwhileError: it is at another revision.
        OrderRefusedError: the order can make no sense now, or too many wait.
    """
    if not is_storable(rollout):
        raise UnknownRolloutError(rollout)
    row = connection.execute(
        # PostgreSQL: the engine's next change of it comes after this order.
        select(rollouts).where(rollouts.c.rollout == rollout).with_for_update()
    ).one_or_none()
    if row is None:
        raise UnknownRolloutError(rollout)
    if wanted.revision is not None and wanted.revision != row.revision:
        raise ChangedMeanwhileError(rollout, seen=wanted.revision, now=row.revision)
    why = why_not(RolloutState(row.state), wanted.action, current_gates(row))
    if why is not None:
        raise OrderRefusedError(f"{rollout}: {why}")
    _check_room(connection, row)
    key = connection.execute(
        insert(rollout_orders)
        .values(
            rollout_id=row.id,
            action=wanted.action.value,
            actor=clean(wanted.actor),
            note=clean(wanted.note),
            ordered_ms=now_ms,
            state="waiting",
        )
        .returning(rollout_orders.c.id)
    ).scalar_one()
    return find_order(connection, key)


def find_order(connection: Connection, key: int) -> OrderView:
    """An order by its key."""
    return order_view(
        connection.execute(select(rollout_orders).where(rollout_orders.c.id == key)).one()
    )


def wait_for(
    look: Callable[[], OrderView],
    *,
    wait_s: float,
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
) -> OrderView:
    """The order as soon as it is obeyed or refused, or as it is after `wait_s`."""
    end = monotonic() + wait_s
    pause_s = FIRST_LOOK_S
    while True:
        order = look()
        left_s = end - monotonic()
        if order.state != "waiting" or left_s <= 0:
            return order
        sleep(min(pause_s, left_s))
        pause_s = min(2 * pause_s, LAST_LOOK_S)


def _check_room(connection: Connection, row: Row[Any]) -> None:
    waiting = connection.execute(
        select(func.count())
        .select_from(rollout_orders)
        .where(rollout_orders.c.rollout_id == row.id, rollout_orders.c.state == "waiting")
    ).scalar_one()
    if waiting >= MAX_WAITING:
        raise OrderRefusedError(
            f"{row.rollout}: {waiting} orders wait for an engine already; start one: "
            "edgeqa cloud run",
            code="too_many_orders",
        )
