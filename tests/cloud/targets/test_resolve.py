"""The devices that a target means, over both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event
from support.fleet import OLD, Fleet
from support.fleet_databases import Databases

from edgeqa.errors import ExitCode
from edgeqa_cloud.rollout.planning import Candidate
from edgeqa_cloud.rollout.spec import Target
from edgeqa_cloud.targets.query import QueryError
from edgeqa_cloud.targets.resolve import UnknownDevicesError, resolve
from edgeqa_cloud.targets.tags import change_tags

NOW_MS = 1_800_000_000_000


@pytest.fixture(scope="module", params=["sqlite_databases", "postgres_databases"])
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Nothing here changes it but the last test, which makes it large."""
    databases: Databases = request.getfixturevalue(request.param)
    with databases.open(databases.new()) as database:
        made = Fleet(database, NOW_MS)
        made.device("pi-1", groups=["site-1"])
        made.device("pi-2", groups=["site-2", "lab"], exact_match=40.0)
        made.device("pi-3", groups=None, presence="offline", model_digest=None)
        made.device("pi-4", groups=[], last_seen_ms=NOW_MS - 600_000, model_name=None,
                    model_version=None, model_digest=None)  # fmt: skip
        with database.writing() as connection:
            target = Target(devices=["pi-2", "pi-4"])
            change_tags(connection, target, add=["canary"], actor="test", now_ms=NOW_MS)
        yield made


def resolved(fleet: Fleet, **target: Any) -> list[Candidate]:
    with fleet.database.reading() as connection:
        return resolve(connection, Target(**target), now_ms=NOW_MS)


def names(fleet: Fleet, **target: Any) -> list[str]:
    return [one.device for one in resolved(fleet, **target)]


def test_what_is_told_of_a_device(fleet: Fleet) -> None:
    found = resolved(fleet, all=True)
    assert [(one.device_id, one.device, one.online) for one in found] == [
        (1, "pi-1", True), (2, "pi-2", True), (3, "pi-3", False), (4, "pi-4", False)
    ]  # fmt: skip
    assert found[0].model is not None
    assert found[0].model.model_dump() == OLD
    assert [one.model is None for one in found] == [False, False, True, True]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"devices": ["pi-3", "pi-1", "pi-3"]}, ["pi-1", "pi-3"]),
        ({"groups": ["site-1", "lab"]}, ["pi-1", "pi-2"]),
        ({"groups": ["Site-1", "sit"]}, []),
        ({"tags": ["canary", "other"]}, ["pi-2", "pi-4"]),
        ({"devices": ["pi-1"], "groups": ["lab"], "tags": ["canary"]}, ["pi-1", "pi-2", "pi-4"]),
        ({"devices": ["pi-1"], "tags": ["canary"], "query": "em>=70"}, ["pi-1", "pi-4"]),
        ({"devices": ["pi-1"], "query": "tag=canary"}, []),
        ({"query": "tag=canary or presence=offline"}, ["pi-2", "pi-3", "pi-4"]),
        ({"all": True, "query": "not tag=canary"}, ["pi-1", "pi-3"]),
        ({"all": True, "devices": ["pi-1"]}, ["pi-1", "pi-2", "pi-3", "pi-4"]),
        ({"groups": ["nobody"]}, []),
    ],
)
def test_targets(target: dict[str, Any], expected: list[str], fleet: Fleet) -> None:
    assert names(fleet, **target) == expected


def test_unknown_devices_are_named(fleet: Fleet) -> None:
    with pytest.raises(UnknownDevicesError, match=r"^no such devices: pi-0, pi-9; ") as caught:
        resolved(fleet, devices=["pi-1", "pi-9", "pi-0", "pi-9"], query="device=pi-1")
    assert (caught.value.code, caught.value.exit_code) == ("unknown_devices", ExitCode.USAGE)
    many = [f"x-{number:05}" for number in range(100_000)]
    with pytest.raises(UnknownDevicesError) as caught:
        resolved(fleet, devices=many)
    assert "x-00009 and 99,990 more; " in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_wrong_query(fleet: Fleet) -> None:
    with pytest.raises(QueryError, match="at character 4"):
        resolved(fleet, devices=["pi-9"], query="em>x")


def test_ten_thousand_devices_take_two_statements(fleet: Fleet) -> None:
    fleet.many(10_000)
    statements: list[str] = []
    event.listen(
        fleet.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2])
    )
    every = [f"sim-{number:05}" for number in range(10_000)]
    assert names(fleet, devices=every) == every
    assert len([one for one in statements if one.startswith("SELECT")]) == 2
    assert len(names(fleet, all=True, query="sim- seen<60s group=site-3")) == 300
    found = resolved(fleet, all=True)
    assert len(found) == 10_004
    # Thousands of devices share what they run.
    assert len({id(one.model) for one in found}) <= 32
