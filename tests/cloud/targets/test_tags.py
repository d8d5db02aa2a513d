"""Tags of devices: given, taken, bounded, and told in the audit log; over both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select
from support.fleet import Fleet
from support.fleet_databases import Databases

from edgeqa_cloud.device_filter import DeviceFilter
from edgeqa_cloud.queries import find_device, list_devices
from edgeqa_cloud.rollout.spec import Target
from edgeqa_cloud.rollout.tables import audit
from edgeqa_cloud.targets.query import parse
from edgeqa_cloud.targets.resolve import UnknownDevicesError
from edgeqa_cloud.targets.tag_views import DeviceTags, TagChange
from edgeqa_cloud.targets.tags import (
    MAX_TAGS,
    TagsError,
    change_tags,
    read_tags,
    set_tags,
    tag_page,
)

NOW_MS = 1_800_000_000_000


@pytest.fixture
def fleet(cloud_databases: Databases) -> Iterator[Fleet]:
    with cloud_databases.open(cloud_databases.new()) as database:
        made = Fleet(database, NOW_MS)
        for name in ("a", "b", "c"):
            made.device(name)
        yield made


def give(fleet: Fleet, device: str, *tags: str, revision: str | None = None) -> DeviceTags | None:
    with fleet.database.writing() as connection:
        return set_tags(connection, device, tags, actor="user:anna", now_ms=NOW_MS,
                        revision=revision)  # fmt: skip


def change(fleet: Fleet, target: dict[str, Any], **changes: Any) -> TagChange:
    with fleet.database.writing() as connection:
        return change_tags(connection, Target(**target), actor="token:ci", now_ms=NOW_MS, **changes)


def tags(fleet: Fleet) -> dict[str, list[str]]:
    with fleet.database.reading() as connection:
        found = list_devices(connection, now_ms=NOW_MS).devices
        for one in found:
            assert read_tags(connection, one.device).tags == one.tags
            alone = find_device(connection, one.device, now_ms=NOW_MS)
            assert alone is not None
            assert alone[1].tags == one.tags
        return {one.device: one.tags for one in found}


def log(fleet: Fleet) -> list[Any]:
    with fleet.database.reading() as connection:
        return list(connection.execute(select(audit).order_by(audit.c.id)))


def test_tags_of_one_device(fleet: Fleet) -> None:
    assert tags(fleet) == {"a": [], "b": [], "c": []}
    given = give(fleet, "a", "site-2", "canary", "canary")
    assert given is not None
    assert given.tags == ["canary", "site-2"]
    assert tags(fleet)["a"] == ["canary", "site-2"]
    give(fleet, "a", "canary", "hall.7")
    assert tags(fleet) == {"a": ["canary", "hall.7"], "b": [], "c": []}
    give(fleet, "a")
    assert tags(fleet)["a"] == []
    assert [(row.actor, row.action, row.device, row.message) for row in log(fleet)] == [
        ("user:anna", "tags_changed", "a", "tags of a: +canary +site-2"),
        ("user:anna", "tags_changed", "a", "tags of a: +hall.7 -site-2"),
        ("user:anna", "tags_changed", "a", "tags of a: -canary -hall.7"),
    ]
    assert log(fleet)[1].evidence == {
        "add": ["hall.7"], "remove": ["site-2"], "changed": 1, "devices": ["a"]
    }  # fmt: skip


def test_the_same_tags_again_change_nothing(fleet: Fleet) -> None:
    first = give(fleet, "a", "x", "y")
    assert give(fleet, "a", "y", "x") == first
    assert change(fleet, {"devices": ["a"]}, add=["x"]) == TagChange(devices=1, changed=0)
    assert len(log(fleet)) == 1


def test_tags_that_changed_meanwhile(fleet: Fleet) -> None:
    with fleet.database.reading() as connection:
        seen = read_tags(connection, "a")
    given = give(fleet, "a", "x", revision=seen.revision)
    assert given is not None
    assert given.revision != seen.revision
    assert give(fleet, "a", "y", revision=seen.revision) is None
    assert tags(fleet)["a"] == ["x"]
    assert give(fleet, "a", "y", revision=given.revision) is not None
    assert len(log(fleet)) == 2


def test_many_devices_by_target(fleet: Fleet) -> None:
    give(fleet, "a", "old", "kept")
    done = change(fleet, {"query": "device~*"}, add=["new", "newer"], remove=["old"])
    assert done == TagChange(devices=3, changed=3)
    assert tags(fleet) == {
        "a": ["kept", "new", "newer"], "b": ["new", "newer"], "c": ["new", "newer"]
    }  # fmt: skip
    # A query over the tag that is taken: it is read once.
    assert change(fleet, {"tags": ["new"]}, remove=["new"]).changed == 3
    assert change(fleet, {"tags": ["new"]}, remove=["newer"]) == TagChange(devices=0, changed=0)
    entry = log(fleet)[1]
    assert entry.device is None
    assert entry.message == "tags of 3 devices: +new +newer -old"
    assert entry.evidence["devices"] == ["a", "b", "c"]
    assert entry.evidence["target"] == {"query": "device~*"}
    with fleet.database.reading() as connection:
        counts = {one.tag: one.devices for one in tag_page(connection).tags}
        second = tag_page(connection, limit=1, offset=1)
    assert counts == {"kept": 1, "newer": 3}
    assert (second.total, [one.tag for one in second.tags]) == (2, ["newer"])


def test_ten_thousand_devices(fleet: Fleet) -> None:
    fleet.many(10_000)
    assert change(fleet, {"all": True}, add=["everywhere"]).changed == 10_003
    assert change(fleet, {"query": "sim-"}, remove=["everywhere"]).changed == 10_000
    assert len(log(fleet)[0].evidence["devices"]) == 1000
    with fleet.database.reading() as connection:
        found = list_devices(connection, now_ms=NOW_MS, which=DeviceFilter(tag="everywhere"))
        assert [one.device for one in found.devices] == ["a", "b", "c"]
        query = DeviceFilter(tag="everywhere", query=parse("not device=b"))
        found = list_devices(connection, now_ms=NOW_MS, which=query)
        assert [one.device for one in found.devices] == ["a", "c"]


NO_TAGS = [
    "", " ", "a b", "a,b", "-a", "x" * 65, "a\n", "é", "<script>", "a'; drop table", "a\0", "\ud800"
]  # fmt: skip


def test_no_tags(fleet: Fleet) -> None:
    give(fleet, "a", "kept")
    for tag in NO_TAGS:
        with pytest.raises(TagsError) as caught:
            give(fleet, "a", "good", tag)
        assert "\n" not in str(caught.value)
        for changes in ({"add": [tag]}, {"remove": ["kept", tag]}):
            with pytest.raises(TagsError):
                change(fleet, {"all": True}, **changes)
    assert tags(fleet)["a"] == ["kept"]


def test_changes_that_make_no_sense(fleet: Fleet) -> None:
    with pytest.raises(TagsError, match="x: to be given and to be taken"):
        change(fleet, {"all": True}, add=["x"], remove=["x"])
    with pytest.raises(TagsError, match="no tag"):
        change(fleet, {"all": True})
    for name in ("nobody", "a\0", "a'--"):
        with pytest.raises(UnknownDevicesError):
            give(fleet, name, "x")
    with pytest.raises(UnknownDevicesError, match="no such devices: x, y;"):
        change(fleet, {"devices": ["x", "a", "y"]}, add=["x"])
    assert tags(fleet) == {"a": [], "b": [], "c": []}


def test_too_many_tags(fleet: Fleet) -> None:
    most = [f"tag-{number}" for number in range(MAX_TAGS)]
    give(fleet, "b", *most)
    with pytest.raises(TagsError, match="65 tags"):
        give(fleet, "b", *most, "one-more")
    # For one of the devices it would be one too many: none is changed.
    with pytest.raises(TagsError, match="b would have 65 tags"):
        change(fleet, {"all": True}, add=["one-more"])
    assert (tags(fleet)["a"], tags(fleet)["b"]) == ([], sorted(most))
    assert change(fleet, {"all": True}, add=["one-more"], remove=["tag-0"]).changed == 3
