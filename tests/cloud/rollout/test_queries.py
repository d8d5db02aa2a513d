"""Reading rollouts, over SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event, insert
from support.fleet import HOUR_MS, MINUTE_MS, NEW, Fleet
from support.fleet_databases import Databases
from support.rollout_rows import GATE, RolloutRows

from edgeqa_cloud.rollout.filters import AuditFilter, MemberFilter, RolloutFilter
from edgeqa_cloud.rollout.queries import find_rollout, list_audit, list_members, list_rollouts
from edgeqa_cloud.rollout.spec import RolloutGates
from edgeqa_cloud.rollout.states import MemberState, RolloutState
from edgeqa_cloud.rollout.tables import rollout_orders
from edgeqa_cloud.rollout.views import MemberPage, RolloutView

NOW_MS = 1_800_000_000_000
EVIL = "<script>x</script>\x1b[31m%_'; DROP TABLE rollouts; --"


@pytest.fixture
def fleet(cloud_databases: Databases) -> Iterator[Fleet]:
    with cloud_databases.open(cloud_databases.new()) as database:
        yield Fleet(database, NOW_MS)


@pytest.fixture
def rows(fleet: Fleet) -> RolloutRows:
    return RolloutRows(fleet.database, NOW_MS)


def seen(rows: RolloutRows, rollout: str) -> RolloutView:
    with rows.database.reading() as connection:
        found = find_rollout(connection, rollout, now_ms=NOW_MS)
    assert found is not None
    return found


def ids(rows: RolloutRows, **fields: Any) -> list[str]:
    with rows.database.reading() as connection:
        page = list_rollouts(connection, which=RolloutFilter(**fields))
    assert page.total == len(page.rollouts)
    return [one.rollout for one in page.rollouts]


def members(rows: RolloutRows, key: int = 1, **fields: Any) -> MemberPage:
    with rows.database.reading() as connection:
        return list_members(connection, key, which=MemberFilter(**fields))


def test_a_rollout_whole(rows: RolloutRows, fleet: Fleet) -> None:
    devices = [fleet.device(name) for name in ("a", "b", "c")]
    rollout = rows.rollout(
        [(devices[0], 0, "changed"), (devices[1], 1, "waiting"), (devices[2], 1, "waiting")],
        stage_begun_ms=NOW_MS - MINUTE_MS, soak_begun_ms=NOW_MS - 20_000, gates=[GATE],
        gates_stage=0, gates_ms=NOW_MS - 5000, revision=7,
    )  # fmt: skip
    view = seen(rows, rollout)
    assert view.revision == 7
    assert (view.devices, view.stage, view.stages) == (3, 0, 2)
    assert view.states == {MemberState.CHANGED: 1, MemberState.WAITING: 2}
    assert [(one.label, one.devices, one.state) for one in view.stage_list] == [
        ("1 device", 1, "soaking"),
        ("100 %", 2, "waiting"),
    ]
    assert view.stage_list[0].states == {MemberState.CHANGED: 1}
    assert view.soak_ends_ms == NOW_MS + 40_000
    assert view.waiting_for == "the soak, 40 s more"
    assert [one.gate for one in view.gates] == ["f1"]
    assert view.model.digest == NEW["digest"]


def test_gates_of_an_earlier_stage_are_not_those_of_this_one(
    rows: RolloutRows, fleet: Fleet
) -> None:
    rollout = rows.rollout(
        [(fleet.device("a"), 0, "changed"), (fleet.device("b"), 1, "wished")],
        stage=1, stage_begun_ms=NOW_MS, gates=[GATE], gates_stage=0, gates_ms=NOW_MS,
    )  # fmt: skip
    view = seen(rows, rollout)
    assert (view.gates, view.gates_ms) == ([], None)
    assert [one.state for one in view.stage_list] == ["passed", "changing"]


WAITING: list[tuple[dict[str, Any], list[str], str | None]] = [
    ({}, ["waiting", "waiting"], "the turn of 1 device"),
    ({"stage_begun_ms": 1}, ["changing", "waiting"], "the turn of 1 device"),
    ({"state": "paused", "stage_begun_ms": 1}, ["changing", "waiting"],
     "a person's order: resume, promote, abort or undo"),
    ({"state": "completed", "stage": 1}, ["passed", "passed"], None),
    ({"state": "aborted", "stage": 1}, ["passed", "stopped"], None),
    ({"state": "undone", "stage": 0}, ["undone", "stopped"], None),
    ({"state": "undo_incomplete", "stage": 1}, ["undone", "undone"], None),
    ({"soak_begun_ms": NOW_MS - 60_001, "gates": [GATE], "gates_stage": 0},
     ["soaking", "waiting"], "evidence for f1, 6 h at most"),
    ({"soak_begun_ms": NOW_MS - 60_001, "gates": [{**GATE, "status": "passed"}],
      "gates_stage": 0}, ["soaking", "waiting"], None),
    ({"soak_begun_ms": NOW_MS - 60_001}, ["soaking", "waiting"],
     "evidence for f1, 6 h at most"),
]  # fmt: skip


def test_what_it_waits_for(rows: RolloutRows, fleet: Fleet) -> None:
    key = fleet.device("a")
    alone = dict.fromkeys(RolloutGates.model_fields) | {"f1": {}}
    for columns, states, waiting in WAITING:
        rollout = rows.rollout([(key, 0, "waiting")], spec={"gates": alone}, **columns)
        view = seen(rows, rollout)
        assert [one.state for one in view.stage_list] == states, columns
        assert view.waiting_for == waiting, columns


def test_it_waits_for_a_time_window(rows: RolloutRows, fleet: Fleet) -> None:
    # NOW_MS is 08:00 UTC on a Friday.
    window = {"begin": "22:00", "end": "23:00", "days": ["sat"]}
    rollout = rows.rollout([(fleet.device("a"), 0, "waiting")], spec={"windows": [window]})
    assert seen(rows, rollout).waiting_for == (
        "a time window, which opens 2027-01-16 22:00 UTC, in 38 h"
    )
    rows.change(rollout, state="paused")
    assert "person" in str(seen(rows, rollout).waiting_for)


def test_it_waits_for_devices_that_are_away(rows: RolloutRows, fleet: Fleet) -> None:
    here, away = fleet.device("a"), fleet.device("b", presence="offline")
    silent = fleet.device("c", last_seen_ms=NOW_MS - HOUR_MS)
    rollout = rows.rollout(
        [(here, 0, "wished"), (away, 0, "wished"), (silent, 0, "wished")], stage_begun_ms=1
    )
    assert seen(rows, rollout).waiting_for == "1 device changing, 2 devices not online to follow"
    rows.change(rollout, state="undoing", undo_begun_ms=NOW_MS)
    assert seen(rows, rollout).waiting_for is None


def test_it_waits_for_devices_to_go_back(rows: RolloutRows, fleet: Fleet) -> None:
    devices = [fleet.device("a"), fleet.device("b", presence="offline")]
    rollout = rows.rollout(
        [(one, 0, "reverting") for one in devices], state="undoing", undo_begun_ms=NOW_MS
    )
    assert (
        seen(rows, rollout).waiting_for == "1 device going back, 1 device not online to come back"
    )


def test_no_rollout(rows: RolloutRows) -> None:
    with rows.database.reading() as connection:
        assert find_rollout(connection, "r-20261125-000000", now_ms=NOW_MS) is None
        assert list_rollouts(connection).total == 0
        assert list_members(connection, 1).total == 0
        assert list_audit(connection).total == 0


def test_rollouts_newest_first_and_by_filter(rows: RolloutRows, fleet: Fleet) -> None:
    a, b = fleet.device("a"), fleet.device("b")
    first = rows.rollout([(a, 0, "changed")], state="completed", stage=1)
    second = rows.rollout([(a, 0, "wished"), (b, 1, "waiting")], spec={"note": f"why? {EVIL}"})
    other = rows.rollout([(b, 0, "wished")], model_name="other", model_version="1.0.0")
    assert ids(rows) == [other, second, first]
    assert ids(rows, states=frozenset({RolloutState.COMPLETED})) == [first]
    assert ids(rows, model=f"{NEW['name']}@{NEW['version']}") == [second, first]
    assert ids(rows, model="other@2.0.0") == []
    assert ids(rows, text="WHY?") == [second]
    assert ids(rows, text="%_'; drop") == [second]
    assert ids(rows, text="%") == [second]
    assert ids(rows, text=other[-4:]) == [other]
    assert ids(rows, text="anna") == [other, second, first]
    assert ids(rows, device="b") == [other, second]
    assert ids(rows, device="nobody", states=frozenset({RolloutState.RUNNING})) == []


def test_rollouts_by_pages(rows: RolloutRows, fleet: Fleet) -> None:
    key = fleet.device("a")
    made = [rows.rollout([(key, 0, "changed")]) for _ in range(5)]
    with rows.database.reading() as connection:
        page = list_rollouts(connection, limit=2, offset=1)
    assert page.total == 5
    assert [one.rollout for one in page.rollouts] == [made[3], made[2]]
    assert page.rollouts[0].states == {MemberState.CHANGED: 1}
    assert page.rollouts[0].stages == 2


def test_text_that_no_database_holds_finds_nothing(rows: RolloutRows, fleet: Fleet) -> None:
    rows.rollout([(fleet.device("a"), 0, "changed")])
    for text in ("\0", "\ud800", "a\0"):
        assert ids(rows, text=text) == []
        assert ids(rows, model=text) == []
        assert ids(rows, device=text) == []
        assert members(rows, text=text).total == 0
        with rows.database.reading() as connection:
            for name in ("rollout", "device", "actor", "action", "text"):
                assert list_audit(connection, which=AuditFilter(**{name: text})).total == 0


def test_members_in_their_turns_and_by_filter(rows: RolloutRows, fleet: Fleet) -> None:
    keys = [fleet.device(name) for name in ("z", "y", "x")]
    rows.rollout(
        [(keys[0], 0, "changed"), (keys[1], 1, "failed"), (keys[2], 1, "waiting")],
        each={"message": EVIL, "code": "gate_failed"},
    )
    page = members(rows)
    assert [one.device for one in page.members] == ["z", "y", "x"]
    assert page.members[0].message == EVIL
    before = page.members[0].before
    assert before is not None
    assert before.name == "minilm-l6-squad"
    assert [one.device for one in members(rows, stage=1).members] == ["y", "x"]
    failed = members(rows, states=frozenset({MemberState.FAILED}))
    assert [one.device for one in failed.members] == ["y"]
    assert [one.device for one in members(rows, text="X").members] == ["z", "y", "x"]
    assert members(rows, text="GATE_F").total == 3
    assert members(rows, text="gate%f").total == 0
    with rows.database.reading() as connection:
        some = list_members(connection, 1, limit=1, offset=1)
    assert (some.total, [one.device for one in some.members]) == (3, ["y"])


def test_orders_newest_first_and_not_without_end(rows: RolloutRows, fleet: Fleet) -> None:
    rollout = rows.rollout([(fleet.device("a"), 0, "wished")])
    with rows.database.writing() as connection:
        connection.execute(
            insert(rollout_orders),
            [
                {"rollout_id": 1, "action": "pause", "actor": "user:anna", "note": str(number),
                 "ordered_ms": NOW_MS, "state": "waiting"}
                for number in range(30)
            ],
        )  # fmt: skip
    orders = seen(rows, rollout).orders
    assert [one.note for one in orders] == [str(number) for number in range(29, 9, -1)]


def test_the_audit_log_newest_first_and_by_filter(rows: RolloutRows) -> None:
    rows.entry("rollout_created", "made", rollout="r-1", age_ms=3000, actor="user:anna")
    rows.entry("device_failed", EVIL, rollout="r-1", age_ms=2000, device="a",
               evidence={"value": float("inf"), "nested": {"x": [1, "\0"]}})  # fmt: skip
    rows.entry("token_made", "made", rollout=None, age_ms=1000, actor="user:root")

    def actions(**fields: Any) -> list[str]:
        with rows.database.reading() as connection:
            page = list_audit(connection, which=AuditFilter(**fields))
        assert page.total == len(page.entries)
        return [one.action for one in page.entries]

    assert actions() == ["token_made", "device_failed", "rollout_created"]
    assert actions(rollout="r-1") == ["device_failed", "rollout_created"]
    assert actions(device="a") == ["device_failed"]
    assert actions(actor="engine") == ["device_failed"]
    assert actions(action="token_made") == ["token_made"]
    assert actions(text="script>") == ["device_failed"]
    assert actions(since_ms=NOW_MS - 2000) == ["token_made", "device_failed"]
    assert actions(until_ms=NOW_MS - 2000) == ["rollout_created"]
    with rows.database.reading() as connection:
        page = list_audit(connection, limit=1, offset=1)
    assert (page.total, page.entries[0].evidence) == (
        3, {"value": None, "nested": {"x": [1, "\ufffd"]}},
    )  # fmt: skip


def test_few_statements_whatever_the_size(rows: RolloutRows, fleet: Fleet) -> None:
    keys = [fleet.device(f"d{number}") for number in range(30)]
    made = [rows.rollout([(key, key % 2, "wished") for key in keys]) for _ in range(10)]
    statements: list[str] = []
    event.listen(
        rows.database.engine, "before_cursor_execute",
        lambda *arguments: statements.append(arguments[2]),
    )  # fmt: skip
    with rows.database.reading() as connection:
        list_rollouts(connection)
        assert len([one for one in statements if one.startswith("SELECT")]) == 3
        statements.clear()
        find_rollout(connection, made[0], now_ms=NOW_MS)
        assert len([one for one in statements if one.startswith("SELECT")]) == 4
        statements.clear()
        list_members(connection, 1)
        assert len([one for one in statements if one.startswith("SELECT")]) == 2
