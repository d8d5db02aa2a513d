"""Rollouts at the API."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select
from support.api_world import ApiWorld
from support.fleet import NEW
from support.rollout_rows import GATE, SPEC, RolloutRows

from edgeqa_cloud.access.roles import Role
from edgeqa_cloud.rollout.tables import rollout_orders, rollouts

EVIL = "<script>alert(1)</script>\u202e"


@pytest.fixture
def rows(small_world: ApiWorld) -> RolloutRows:
    return rows_of(small_world)


def rows_of(world: ApiWorld) -> RolloutRows:
    made = RolloutRows(world.database, world.clock())
    made.package()
    return made


def refused(response: Any, status: int, code: str) -> str:
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    detail: str = response.json()["detail"]
    return detail


def made(world: ApiWorld, table: Any) -> int:
    with world.database.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def test_a_rollout_from_its_plan_to_its_orders(world: ApiWorld) -> None:
    rows_of(world)
    for number in range(4):
        world.fleet.device(f"d{number}")
    spec = {**SPEC, "note": EVIL}
    with world.program(Role.OPERATOR) as client:
        plan = client.post("/rollouts/plan", json=spec)
        assert (plan.status_code, made(world, rollouts)) == (200, 0)
        assert [one["devices"] for one in plan.json()["stages"]] == [1, 3]

        keyed = {"Idempotency-Key": "one"}
        first = client.post("/rollouts", json=spec, headers=keyed)
        assert (first.status_code, first.headers["etag"]) == (201, '"1"')
        rollout = first.json()["rollout"]
        assert first.headers["location"] == f"/api/v1/rollouts/{rollout}"
        assert client.get(f"{world.url}{first.headers['location']}").json()["note"] == EVIL
        again = client.post("/rollouts", json=spec, headers=keyed)
        assert (again.status_code, again.json()["rollout"]) == (201, rollout)
        assert made(world, rollouts) == 1

        shown = client.get(f"/rollouts/{rollout}")
        assert shown.json()["states"] == {"waiting": 4}
        assert shown.json()["created_by"] == "token:a-operator"
        order = f"/rollouts/{rollout}/pause"
        detail = refused(client.post(order, headers={"If-Match": '"7"'}), 412, "changed_meanwhile")
        assert "revision 1" in detail
        refused(client.post(order, headers={"If-Match": "yesterday"}), 412, "changed_meanwhile")
        assert made(world, rollout_orders) == 0
        refused(client.post(f"/rollouts/{rollout}/resume"), 409, "order_refused")


def test_orders_obeyed_refused_and_waiting(
    small_world: ApiWorld, rows: RolloutRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = small_world
    rollout = rows.rollout([(world.fleet.device("a"), 0, "wished")], gates=[GATE], gates_stage=0)
    monkeypatch.setattr(world.console.rollouts, "_poke", lambda: rows.obey(message="done"))
    with world.program(Role.OPERATOR) as client:
        done = client.post(f"/rollouts/{rollout}/promote", json={"note": "we know"},
                           headers={"If-Match": '"1"'})  # fmt: skip
        assert done.status_code == 200
        assert (done.json()["state"], done.json()["note"]) == ("obeyed", "we know")
        assert done.json()["actor"] == "token:a-operator"

        def refuse() -> int:
            return rows.obey("refused", code="already_promoted", message="is promoted already")

        monkeypatch.setattr(world.console.rollouts, "_poke", refuse)
        again = client.post(f"/rollouts/{rollout}/promote", headers={"If-Match": "*"})
        assert refused(again, 409, "already_promoted") == "is promoted already"

        monkeypatch.setattr(world.console.rollouts, "_poke", lambda: None)
        monkeypatch.setattr(world.console.rollouts, "_sleep", lambda _: None)
        monkeypatch.setattr(world.console.rollouts, "_monotonic", iter(range(100)).__next__)
        waits = client.post(f"/rollouts/{rollout}/pause")
        assert (waits.status_code, waits.json()["state"]) == (202, "waiting")
        orders = client.get(f"/rollouts/{rollout}").json()["orders"]
        assert [one["state"] for one in orders] == ["waiting", "refused", "obeyed"]


def test_who_only_looks_changes_nothing(small_world: ApiWorld, rows: RolloutRows) -> None:
    world = small_world
    rollout = rows.rollout([(world.fleet.device("a"), 0, "wished")])
    with world.program(Role.VIEWER) as client:
        assert client.get(f"/rollouts/{rollout}").status_code == 200
        for path in ("", "/plan", *(f"/{rollout}/{action}" for action in
                     ("pause", "resume", "promote", "abort", "undo"))):  # fmt: skip
            refused(client.post(f"/rollouts{path}", json=SPEC), 403, "forbidden")
    assert (made(world, rollouts), made(world, rollout_orders)) == (1, 0)


def test_what_makes_no_sense(small_world: ApiWorld, rows: RolloutRows) -> None:
    world = small_world
    world.fleet.device("a")
    with world.program(Role.OPERATOR) as client:
        for change, status, code in (
            ({"package": {"name": "nosuch", "version": "1.0.0"}}, 422, "unknown_package"),
            ({"target": {"groups": ["nobody"]}}, 422, "empty_target"),
            ({"target": {"devices": ["nobody"]}}, 422, "unknown_devices"),
            ({"target": {}}, 422, "invalid_request"),
            ({"stages": [{"percent": 50}, {"percent": 5}]}, 422, "invalid_request"),
            ({"stages": []}, 422, "invalid_request"),
            ({"gates": {"f1": {"max_drop": -1}}}, 422, "invalid_request"),
            ({"surprise": 1}, 422, "invalid_request"),
        ):
            for path in ("/rollouts", "/rollouts/plan"):
                assert refused(client.post(path, json={**SPEC, **change}), status, code)
        refused(client.post("/rollouts/r-1/pause"), 404, "unknown_rollout")
        refused(client.post("/rollouts/r-1/explode"), 404, "not_found")
        refused(client.post("/rollouts/r-1/pause", json={"note": "x" * 1001}), 422,
                "invalid_request")  # fmt: skip
        for path in ("", "/members", "/audit"):
            refused(client.get(f"/rollouts/%00{path}"), 404, "unknown_rollout")
    assert made(world, rollouts) == 0


def test_lists_by_filter_and_page(small_world: ApiWorld, rows: RolloutRows) -> None:
    world = small_world
    keys = [world.fleet.device(f"d{number}") for number in range(3)]
    rollout = rows.rollout([(key, 0, state) for key, state in
                            zip(keys, ("changed", "failed", "wished"), strict=True)])  # fmt: skip
    rows.rollout([(keys[0], 0, "changed")], state="completed")
    rows.entry("device_failed", EVIL, rollout=rollout, device="d1")
    rows.entry("paused", "waits", rollout=rollout)
    with world.program() as client:
        page = client.get("/rollouts", params={"state": "running", "model": NEW["name"]}).json()
        assert [one["rollout"] for one in page["rollouts"]] == [rollout]
        assert client.get("/rollouts", params={"device": "d2"}).json()["total"] == 1
        first = client.get("/rollouts", params={"limit": 1})
        assert first.json()["total"] == 2
        assert 'offset=1>; rel="next"' in first.headers["link"]
        members = client.get(f"/rollouts/{rollout}/members", params={"state": "failed"}).json()
        assert [one["device"] for one in members["members"]] == ["d1"]
        found = client.get(f"/rollouts/{rollout}/members", params={"text": "D2", "stage": 0})
        assert found.json()["total"] == 1
        told = client.get(f"/rollouts/{rollout}/audit", params={"action": "device_failed"}).json()
        assert [one["message"] for one in told["entries"]] == [EVIL]
        refused(client.get("/rollouts", params={"state": "flying"}), 422, "invalid_request")
