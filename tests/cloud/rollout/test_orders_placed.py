"""Orders: which are taken, and what those who order hear of them; over SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from sqlalchemy import insert, select
from support.fleet import Fleet
from support.fleet_databases import Databases
from support.rollout_rows import GATE, RolloutRows

from edgeqa.errors import EdgeqaError, ExitCode
from edgeqa_cloud.database import Database, DatabaseError
from edgeqa_cloud.rollout.allowed import allowed_now, why_not
from edgeqa_cloud.rollout.ordering import MAX_WAITING
from edgeqa_cloud.rollout.refusals import (
    ChangedMeanwhileError,
    OrderRefusedError,
    UnknownRolloutError,
)
from edgeqa_cloud.rollout.service import Rollouts
from edgeqa_cloud.rollout.states import Action, GateStatus, RolloutState
from edgeqa_cloud.rollout.tables import rollout_orders
from edgeqa_cloud.rollout.views import GateView, OrderView
from edgeqa_cloud.settings import DatabaseSettings

NOW_MS = 1_800_000_000_000
EVIL = "<img src=x onerror=alert(1)>\x00\x1b[31m"


@dataclass
class Clock:
    """Time that passes only where somebody sleeps."""

    now_s: float = 0.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, length_s: float) -> None:
        self.slept.append(length_s)
        self.now_s += length_s


@pytest.fixture
def database(cloud_databases: Databases) -> Iterator[Database]:
    with cloud_databases.open(cloud_databases.new()) as one:
        yield one


@pytest.fixture
def rows(database: Database) -> RolloutRows:
    return RolloutRows(database, NOW_MS)


@pytest.fixture
def running(rows: RolloutRows) -> str:
    return rows.rollout([(Fleet(rows.database, NOW_MS).device("a"), 0, "wished")], revision=3)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def rollouts(database: Database, clock: Clock, poke: object = None) -> Rollouts:
    return Rollouts(
        database=database,
        now_ms=lambda: NOW_MS,
        poke=poke if callable(poke) else lambda: None,
        monotonic=clock.monotonic,
        sleep=clock.sleep,
    )


def written(database: Database) -> list[tuple[str, str]]:
    with database.reading() as connection:
        rows = connection.execute(select(rollout_orders.c.action, rollout_orders.c.state))
        return [(row.action, row.state) for row in rows]


def test_an_order_that_the_engine_of_this_process_obeys_at_once(
    rows: RolloutRows, running: str, clock: Clock
) -> None:
    asked = rollouts(rows.database, clock, poke=lambda: rows.obey(message="paused"))
    order = asked.order(running, Action.PAUSE, actor="user:anna", note=EVIL)
    assert (order.state, order.message, order.actor) == ("obeyed", "paused", "user:anna")
    assert order.note == EVIL.replace("\x00", "\ufffd")
    assert clock.slept == []


def test_an_order_that_an_engine_elsewhere_refuses_a_little_later(
    rows: RolloutRows, running: str, clock: Clock
) -> None:
    def sleep(length_s: float) -> None:
        clock.sleep(length_s)
        if clock.now_s > 0.5:
            rows.obey("refused", code="gate_breached", message="F1 is breached")

    asked = Rollouts(database=rows.database, now_ms=lambda: NOW_MS, sleep=sleep,
                     monotonic=clock.monotonic)  # fmt: skip
    order = asked.order(running, Action.PROMOTE, actor="token:ci")
    assert (order.state, order.code, order.message) == (
        "refused", "gate_breached", "F1 is breached",
    )  # fmt: skip
    assert clock.now_s < 1


def test_an_order_that_nobody_obeys_in_time_waits(
    rows: RolloutRows, running: str, clock: Clock
) -> None:
    order = rollouts(rows.database, clock).order(running, Action.UNDO, actor="user:anna")
    assert (order.state, order.code, order.action) == ("waiting", None, "undo")
    assert clock.now_s == pytest.approx(3.0)
    assert len(clock.slept) < 20
    assert written(rows.database) == [("undo", "waiting")]


def test_if_match(rows: RolloutRows, running: str, clock: Clock) -> None:
    asked = rollouts(rows.database, clock, poke=rows.obey)
    with pytest.raises(ChangedMeanwhileError, match="is at revision 3") as refused:
        asked.order(running, Action.PAUSE, actor="user:anna", revision=2)
    assert (refused.value.code, refused.value.now) == ("changed_meanwhile", 3)
    assert written(rows.database) == []
    assert asked.order(running, Action.PAUSE, actor="user:anna", revision=3).state == "obeyed"


def test_an_unknown_rollout(database: Database, clock: Clock) -> None:
    asked = rollouts(database, clock)
    for rollout in ("r-20261125-ffffff", "", "\0", "\ud800", "../x", "x" * 5000):
        for call in (
            lambda name: asked.order(name, Action.PAUSE, actor="user:anna"),
            asked.view,
            asked.members,
        ):
            with pytest.raises(UnknownRolloutError, match="rollout list") as refused:
                call(rollout)
            assert refused.value.code == "unknown_rollout"
            assert refused.value.exit_code == ExitCode.USAGE
            assert "\0" not in str(refused.value)


@pytest.mark.parametrize("state", RolloutState)
@pytest.mark.parametrize("action", Action)
def test_an_order_that_can_make_no_sense_is_refused_with_what_would(
    state: RolloutState, action: Action
) -> None:
    why = why_not(state, action)
    possible = allowed_now(state)
    assert (why is None) == (action in possible)
    if why is not None:
        assert action.value in why
        for one in possible:
            assert one.value in why
        if not possible:
            assert "nothing is left to order" in why


def test_undoing_can_be_ordered_until_it_is_done() -> None:
    able = {state for state in RolloutState if Action.UNDO in allowed_now(state)}
    assert able == set(RolloutState) - {RolloutState.UNDOING, RolloutState.UNDONE}


def test_what_makes_no_sense_is_not_written(rows: RolloutRows, running: str, clock: Clock) -> None:
    with pytest.raises(OrderRefusedError, match="possible now: pause, promote, abort, undo"):
        rollouts(rows.database, clock).order(running, Action.RESUME, actor="user:anna")
    assert written(rows.database) == []


def test_nobody_promotes_over_a_breached_gate(
    rows: RolloutRows, running: str, clock: Clock
) -> None:
    rows.change(running, state="paused", gates=[{**GATE, "status": "breached"}], gates_stage=0)
    asked = rollouts(rows.database, clock, poke=rows.obey)
    with pytest.raises(OrderRefusedError, match="f1: breached"):
        asked.order(running, Action.PROMOTE, actor="user:anna")
    passed = GateView(gate="f1", status=GateStatus.PASSED, message="")
    assert why_not(RolloutState.PAUSED, Action.PROMOTE, [passed]) is None
    assert asked.order(running, Action.UNDO, actor="user:anna").state == "obeyed"


def test_impatience_does_not_fill_the_table(rows: RolloutRows, running: str, clock: Clock) -> None:
    with rows.database.writing() as connection:
        connection.execute(
            insert(rollout_orders),
            [{"rollout_id": 1, "action": "pause", "actor": "user:anna", "note": "",
              "ordered_ms": NOW_MS, "state": "waiting"}] * MAX_WAITING,
        )  # fmt: skip
    with pytest.raises(OrderRefusedError, match="edgeqa cloud run") as refused:
        rollouts(rows.database, clock).order(running, Action.PAUSE, actor="user:anna")
    assert refused.value.code == "too_many_orders"


def test_two_who_order_at_once_are_both_heard(rows: RolloutRows, running: str) -> None:
    asked = Rollouts(database=rows.database, now_ms=lambda: NOW_MS)
    orders: list[OrderView] = []

    def order(action: Action) -> None:
        orders.append(asked.order(running, action, actor="user:anna", wait_s=0))

    threads = [threading.Thread(target=order, args=(one,)) for one in (Action.PAUSE, Action.UNDO)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.action for one in orders) == ["pause", "undo"]
    assert len({one.order for one in orders}) == 2


def test_a_database_that_is_away_is_a_typed_error() -> None:
    settings = DatabaseSettings(
        database="postgresql://nobody@127.0.0.1:1/none", database_timeout_s=1
    )
    with Database.of(settings) as database:
        asked = Rollouts(database=database, now_ms=lambda: NOW_MS)
        for call in (
            lambda: asked.order("r-1", Action.PAUSE, actor="user:anna"),
            lambda: asked.view("r-1"),
            asked.list_rollouts,
            asked.audit,
        ):
            with pytest.raises(DatabaseError) as refused:
                call()
            assert isinstance(refused.value, EdgeqaError)
            assert (refused.value.code, refused.value.exit_code) == (
                "database_unreachable", ExitCode.UNREACHABLE,
            )  # fmt: skip


def test_a_database_that_goes_away_after_the_order_leaves_it_waiting(
    rows: RolloutRows, running: str, clock: Clock
) -> None:
    asked = Rollouts(database=rows.database, now_ms=lambda: NOW_MS, monotonic=clock.monotonic,
                     sleep=clock.sleep, poke=lambda: _take_away(rows.database))  # fmt: skip
    assert asked.order(running, Action.PAUSE, actor="user:anna").state == "waiting"


def _take_away(database: Database) -> None:
    with database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE rollout_orders RENAME TO gone")
