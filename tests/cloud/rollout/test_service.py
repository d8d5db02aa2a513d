"""Rollouts planned and created, over SQLite and PostgreSQL: hostile orders first."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select
from support.fleet import NEW, OLD, Fleet
from support.fleet_databases import Databases
from support.rollout_rows import SPEC, RolloutRows

from edgeqa.errors import EdgeqaError
from edgeqa_cloud.database import Database, DatabaseError
from edgeqa_cloud.rollout.filters import AuditFilter
from edgeqa_cloud.rollout.service import Rollouts
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.states import MemberState, RolloutState
from edgeqa_cloud.rollout.store import load
from edgeqa_cloud.rollout.tables import audit, rollout_members, rollouts
from edgeqa_cloud.rollout.views import Plan
from edgeqa_cloud.settings import DatabaseSettings

NOW_MS = 1_800_000_000_000
EVIL = "<script>alert(1)</script>\x00\x1b[31m"


@pytest.fixture
def database(cloud_databases: Databases) -> Iterator[Database]:
    with cloud_databases.open(cloud_databases.new()) as one:
        yield one


@pytest.fixture
def fleet(database: Database) -> Fleet:
    return Fleet(database, NOW_MS)


@pytest.fixture
def rows(database: Database) -> RolloutRows:
    return RolloutRows(database, NOW_MS)


@pytest.fixture
def service(database: Database, rows: RolloutRows) -> Rollouts:
    rows.package()
    return Rollouts(database=database, now_ms=lambda: NOW_MS)


def spec(**fields: Any) -> RolloutSpec:
    return RolloutSpec.model_validate({**SPEC, **fields})


def counted(database: Database) -> tuple[int, int, int]:
    with database.reading() as connection:
        return tuple(  # type: ignore[return-value]
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (rollouts, rollout_members, audit)
        )


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"package": {"name": "unheard-of", "version": "1.0.0"}}, "unknown_package"),
    ({"package": {"name": NEW["name"], "version": "9.9.9"}}, "unknown_package"),
    ({"package": {**NEW, "digest": f"sha256:{'9' * 64}"}}, "wrong_digest"),
    ({"package": {"name": "withdrawn", "version": "1.0.0"}}, "unknown_package"),
    ({"target": {"groups": ["nobody-is-in"]}}, "empty_target"),
    ({"target": {"query": "model=none"}}, "empty_target"),
    ({"target": {"query": "model=("}}, "bad_query"),
    ({"target": {"devices": ["a", "nobody"]}}, "unknown_devices"),
    ({"target": {"devices": ["a"]}, "stages": [{"devices": ["b"]}]}, "stage_outside_target"),
    ({"stages": [{"count": 2}, {"percent": 1}]}, "overlapping_stages"),
    ({"stages": [{"count": 3}, {"devices": ["b"]}]}, "overlapping_stages"),
    ({"stages": [{"percent": 100, "soak_s": 0}], "evidence_s": 0}, "impossible_gates"),
    ({"gates": {"temperature": {"max_celsius": None, "max_rise_celsius": None}}},
     "impossible_gates"),
]  # fmt: skip


def test_what_will_not_do_is_refused_and_nothing_is_written(
    service: Rollouts, rows: RolloutRows, fleet: Fleet
) -> None:
    rows.package({"name": "withdrawn", "version": "1.0.0", "digest": f"sha256:{'3' * 64}"},
                 gone_ms=NOW_MS - 1)  # fmt: skip
    for name in ("a", "b", "c"):
        fleet.device(name)
    before = counted(fleet.database)
    asks = (service.plan, lambda one: service.create(one, actor="user:anna"))
    for (fields, code), ask in itertools.product(REFUSED, asks):
        with pytest.raises(EdgeqaError) as refused:
            ask(spec(**fields))
        assert refused.value.code == code
        assert len(str(refused.value)) > 20
    assert counted(fleet.database) == before


def test_a_rollout_is_created_whole(service: Rollouts, fleet: Fleet) -> None:
    for number in range(5):
        fleet.device(f"d{number}")
    poked: list[int] = []
    service = Rollouts(database=fleet.database, now_ms=lambda: NOW_MS,
                       poke=lambda: poked.append(1))  # fmt: skip
    made = service.create(spec(note=f"quicker {EVIL}"), actor="user:anna")
    assert poked == [1]
    assert made.rollout.startswith("r-20270115-")
    assert (made.state, made.revision, made.devices) == (RolloutState.RUNNING, 1, 5)
    assert made.states == {MemberState.WAITING: 5}
    assert [one.devices for one in made.stage_list] == [1, 4]
    assert made.model.digest == NEW["digest"]
    assert made.created_by == "user:anna"
    assert "\0" not in made.note
    (entry,) = service.audit(AuditFilter(rollout=made.rollout)).entries
    assert (entry.action, entry.actor) == ("rollout_created", "user:anna")
    assert entry.evidence["spec"]["stages"][0]["count"] == 1
    assert service.list_rollouts().total == 1
    turns = [one.position for one in service.members(made.rollout).members]
    assert turns == [0, 1, 2, 3, 4]
    with fleet.database.reading() as connection:
        loaded = load(connection, made.rollout)
    assert loaded is not None
    assert len(loaded.members) == 5


def test_a_plan_shows_what_is_then_made(service: Rollouts, fleet: Fleet) -> None:
    for number in range(40):
        fleet.device(f"d{number:02}", presence="offline" if number % 4 == 0 else "online")
    wanted = spec(stages=[{"percent": 10}, {"percent": 50}, {"percent": 100}])
    planned = service.plan(wanted)
    assert counted(fleet.database)[0] == 0
    made = service.create(wanted.model_copy(update={"note": "why"}), actor="user:anna")
    turns = [one.device for one in service.members(made.rollout, limit=100).members]
    assert [one.device for stage in planned.stages for one in stage.sample] == turns
    assert [one.devices for one in planned.stages] == [4, 16, 20]
    assert planned.stages[0].online == 4
    assert made.model == planned.model
    # Another one of the same spec has other canaries, and so has its plan.
    again = service.plan(wanted)
    other = service.create(wanted, actor="user:anna")
    assert other.rollout != made.rollout
    others = [one.device for one in service.members(other.rollout, limit=4).members]
    assert [one.device for one in again.stages[0].sample] == others
    assert again.overlaps == {made.rollout: 40}


def test_a_plan_tells_of_devices_as_they_are(
    service: Rollouts, rows: RolloutRows, fleet: Fleet
) -> None:
    a = fleet.device("a", model_name=NEW["name"], model_version=NEW["version"],
                     model_digest=NEW["digest"])  # fmt: skip
    b = fleet.device("b", presence="offline", evaluation_questions=None)
    c = fleet.device("c", model_name=None, model_version=None, model_digest=None)
    active = rows.rollout([(a, 0, "changed"), (b, 0, "superseded"), (c, 0, "waiting")])
    rows.rollout([(b, 0, "changed")], state="completed")
    made: Plan = service.plan(spec(stages=[{"devices": ["a"]}, {"devices": ["b"]},
                                           {"percent": 100}]))  # fmt: skip
    (first,), (second,), (third,) = (one.sample for one in made.stages)
    assert (first.note, first.presence) == (f"runs it already; is in {active} too", "online")
    assert (second.note, second.presence) == (None, "offline")
    assert second.model is not None
    assert second.model.digest == OLD["digest"]
    assert (third.model, third.note) == (None, f"is in {active} too")
    assert (made.already, made.overlaps) == (1, {active: 2})


def test_what_is_created_at_the_same_moment_has_ids_of_its_own(
    service: Rollouts, fleet: Fleet
) -> None:
    fleet.device("a")
    made: list[str] = []
    errors: list[BaseException] = []

    def create() -> None:
        try:
            made.append(service.create(spec(), actor="user:anna").rollout)
        except EdgeqaError as error:
            errors.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(set(made)) == 4


def test_a_creation_that_fails_on_its_way_leaves_nothing(service: Rollouts, fleet: Fleet) -> None:
    fleet.device("a")
    with fleet.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE audit RENAME TO gone")
    with pytest.raises(DatabaseError):
        service.create(spec(), actor="user:anna")
    with fleet.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO audit")
    assert counted(fleet.database) == (0, 0, 0)


def test_a_database_that_is_away_creates_nothing() -> None:
    settings = DatabaseSettings(database="postgresql://nobody@127.0.0.1:1/none")
    with Database.of(settings) as database:
        service = Rollouts(database=database, now_ms=lambda: NOW_MS)
        for ask in (service.plan, lambda one: service.create(one, actor="user:anna")):
            with pytest.raises(DatabaseError) as refused:
                ask(spec())
            assert refused.value.code == "database_unreachable"


def test_ten_thousand_devices(service: Rollouts, fleet: Fleet) -> None:
    fleet.many(10_000)
    wanted = spec(stages=[{"count": 1000}, {"percent": 100}])
    planned = service.plan(wanted)
    assert [one.devices for one in planned.stages] == [1000, 9000]
    assert len(planned.stages[1].sample) == 1000
    made = service.create(wanted, actor="user:anna")
    assert made.states == {MemberState.WAITING: 10_000}
