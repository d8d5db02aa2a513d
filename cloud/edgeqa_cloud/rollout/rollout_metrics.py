"""Rollouts for Prometheus: how many there are by state, and what waits for too long."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from edgeqa_cloud import metric_specs as specs
from edgeqa_cloud.rollout.states import RolloutState
from edgeqa_cloud.rollout.tables import rollout_orders, rollouts, wishes
from edgeqa_cloud.tally import Tally


def fill_rollouts(tally: Tally, connection: Connection, *, now_ms: int) -> None:
    """Gauges of the fleet's rollouts.

    Args:
        tally: gets them.
        connection: in a transaction.
        now_ms: by our clock.
    """
    for state in RolloutState:
        tally.set(specs.ROLLOUTS, 0, state.value)
    for state, count in connection.execute(
        select(rollouts.c.state, func.count()).group_by(rollouts.c.state)
    ):
        tally.set(specs.ROLLOUTS, count, state)
    waiting, oldest_ms = connection.execute(
        select(func.count(), func.min(wishes.c.made_ms)).where(wishes.c.published_ms.is_(None))
    ).one()
    tally.set(specs.WISHES_WAITING, waiting)
    tally.set(specs.WISHES_WAITING_S, _age_s(oldest_ms, now_ms))
    ordered_ms = connection.execute(
        select(func.min(rollout_orders.c.ordered_ms)).where(rollout_orders.c.state == "waiting")
    ).scalar_one()
    tally.set(specs.ORDERS_WAITING_S, _age_s(ordered_ms, now_ms))


def _age_s(since_ms: int | None, now_ms: int) -> float:
    return 0.0 if since_ms is None else max(0, now_ms - since_ms) / 1000
