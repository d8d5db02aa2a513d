"""Pages of rollouts, packages and the audit log without a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select
from support.consoles import browsing
from support.fleet import NEW
from support.fleet_databases import Databases
from support.pages import EVIL, NOW_MS, Read, World, served
from support.rollout_rows import GATE, RolloutRows
from support.sites import site

from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.tables import rollout_orders, rollouts

MODEL = f"{NEW['name']}@{NEW['version']}"


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]
)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    name = "sqlite_databases" if request.param == "sqlite" else "postgres_databases"
    databases: Databases = request.getfixturevalue(name)
    with databases.open(databases.new()) as database, served(database) as made:
        for device in ("a", "b", "c"):
            made.fleet.device(device)
        made.rows.package(NEW)
        yield made


@pytest.fixture(scope="module")
def otto(world: World) -> Iterator[httpx.Client]:
    with browsing(world.url, "otto") as client:
        yield client


def begun(rows: RolloutRows, **columns: Any) -> str:
    return rows.rollout([(1, 0, "changed"), (2, 1, "waiting"), (3, 1, "waiting")], **columns)


def order(**changes: str) -> dict[str, str]:
    return {"action": "pause", "state": "running", "stage": "0", "revision": "1"} | changes


def ordered(world: World, rollout: str) -> int:
    with world.database.reading() as connection:
        return connection.execute(
            select(func.count())
            .select_from(rollout_orders)
            .join(rollouts, rollouts.c.id == rollout_orders.c.rollout_id)
            .where(rollouts.c.rollout == rollout)
        ).scalar_one()


# ---- Pages


@pytest.mark.parametrize("path", ["/rollouts", "/rollouts/new", "/packages", "/audit"])
def test_pages_hold_no_script_and_no_style_of_their_own(
    world: World, otto: httpx.Client, path: str
) -> None:
    begun(world.rows, spec={"note": EVIL}, reason=EVIL, created_by=EVIL)
    world.rows.entry("x", EVIL, rollout=None, actor=EVIL, evidence={EVIL: EVIL})
    response = otto.get(path)
    assert response.status_code == 200
    assert "default-src 'none'" in response.headers["content-security-policy"]
    page = Read(response.text)
    for tag, attributes in page.tags:
        assert tag != "style"
        assert tag != "img" or attributes["src"].startswith("/static/")
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
    assert all(one.get("src", "").startswith("/static/") for one in page.all("script"))


def test_a_rollout_whole(world: World, otto: httpx.Client) -> None:
    rollout = begun(
        world.rows, spec={"note": EVIL}, reason=EVIL, code="gate_breached", state="paused",
        gates=[GATE | {"message": EVIL}], gates_stage=0, gates_ms=NOW_MS, each={"message": EVIL},
    )  # fmt: skip
    world.rows.entry("gate_breached", EVIL, rollout=rollout, evidence={"why": EVIL})
    response = otto.get(f"/rollouts/{rollout}")
    page = Read(response.text)
    assert EVIL in page.plain
    assert EVIL not in response.text
    assert not [one for one in page.all("img") if not one["src"].startswith("/static/")]
    assert "−7.5 to +5.1; limit −3.0" in page.plain.replace("\u202f", " ")


@pytest.mark.parametrize("rollout", ["r-none", "%00", "a%20b", "x" * 300, "%F0%9F%92%A9"])
def test_an_unknown_rollout_is_a_page(world: World, otto: httpx.Client, rollout: str) -> None:
    response = otto.get(f"/rollouts/{rollout}")
    assert response.status_code == 404
    assert "There is no such rollout." in response.text
    assert otto.post(f"/rollouts/{rollout}/orders", data=order()).status_code == 404


HOSTILE_QUERIES = [
    "q=%00", "state=nothing", "stage=99999999999999999999", "stage=-1", "page=0", "page=999999999",
    "q=%25_%27%22", "page=abc", "state=waiting&stage=2&q=b", "model=%40", "device=%00",
    "since=tomorrow", "since=9999-12-31&until=0001-01-01", "rollout=%00&actor=%F0%9F%92%A9",
]  # fmt: skip


@pytest.mark.parametrize("query", HOSTILE_QUERIES)
def test_whatever_an_address_holds_gives_a_page(
    world: World, otto: httpx.Client, query: str
) -> None:
    rollout = begun(world.rows)
    for path in (f"/rollouts/{rollout}", "/rollouts", "/audit", "/packages"):
        assert otto.get(f"{path}?{query}").status_code == 200, path


# ---- Orders without scripts


def test_an_order_without_scripts_leads_back(world: World, otto: httpx.Client) -> None:
    rollout = begun(world.rows)
    response = otto.post(f"/rollouts/{rollout}/orders", data=order(note="why"))
    assert response.status_code == 303
    assert response.headers["location"] == f"/rollouts/{rollout}"
    assert "waits for an engine" in otto.get(f"/rollouts/{rollout}").text


@pytest.mark.parametrize(
    ("sent", "columns", "refusal"),
    [
        (order(), {"state": "paused", "revision": 2}, (412, "changed_meanwhile")),
        (order(stage="1"), {"revision": 2}, (412, "changed_meanwhile")),
        (order(action="resume"), {}, (409, "order_refused")),
    ],
)
def test_what_is_refused_is_not_ordered(
    world: World, otto: httpx.Client, sent: dict[str, str], columns: dict[str, Any],
    refusal: tuple[int, str],
) -> None:  # fmt: skip
    rollout = begun(world.rows, **columns)
    response = otto.post(f"/rollouts/{rollout}/orders", data=sent)
    assert response.status_code == refusal[0]
    assert refusal[1] in response.text
    assert ordered(world, rollout) == 0


def test_if_match_stands_over_the_field(world: World, otto: httpx.Client) -> None:
    rollout = begun(world.rows, revision=3, state="paused")
    sent = order(revision="3")
    path = f"/rollouts/{rollout}/orders"
    assert otto.post(path, data=sent, headers={"If-Match": '"2"'}).status_code == 412
    assert ordered(world, rollout) == 0


@pytest.mark.parametrize(
    "sent",
    [{}, order(action="explode"), order(stage="x"), order(revision="-1"), order(note="x" * 1001),
     order() | {"more": "1"}],
)  # fmt: skip
def test_a_form_that_is_none_is_refused(
    world: World, otto: httpx.Client, sent: dict[str, str]
) -> None:
    rollout = begun(world.rows)
    response = otto.post(f"/rollouts/{rollout}/orders", data=sent)
    assert 400 <= response.status_code < 500
    assert response.headers["content-type"].startswith("text/html")
    assert ordered(world, rollout) == 0


POSTS = ["/rollouts/{}/orders", "/rollouts/new", "/rollouts", "/packages/refresh"]


@pytest.mark.parametrize("path", POSTS)
def test_other_sites_cannot_order(world: World, otto: httpx.Client, path: str) -> None:
    rollout = begun(world.rows)
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        response = otto.post(path.format(rollout), data=order(), headers=headers)
        assert response.status_code == 403
    assert ordered(world, rollout) == 0


def test_who_may_not_write_is_refused(world: World) -> None:
    rollout = begun(world.rows)
    with browsing(world.url, "vera") as vera, browsing(world.url) as nobody:
        for path in POSTS:
            assert vera.post(path.format(rollout), data=order()).status_code == 403
            refused = nobody.post(path.format(rollout), data=order())
            assert refused.headers["location"] == "/login"
        assert "data-open" not in vera.get(f"/rollouts/{rollout}").text
        for path in (f"/rollouts/{rollout}", "/rollouts", "/packages", "/audit"):
            posted = Read(vera.get(path).text).all("form", method="post")
            assert [one["action"] for one in posted] == ["/logout"]
    assert ordered(world, rollout) == 0


class Reader:
    """In place of the job that reads the repository."""

    def __init__(self) -> None:
        self.ended = True
        self.asked = 0

    def refresh(self, *, timeout_s: float) -> bool:
        assert timeout_s > 0
        self.asked += 1
        return self.ended


def test_the_repository_is_read_when_somebody_asks(sqlite_databases: Databases) -> None:
    reader = Reader()
    with (
        sqlite_databases.open(sqlite_databases.new()) as database,
        site(database, catalogue=reader) as made,
        browsing(made.url, "otto") as client,
    ):
        made.rows.package(NEW)
        answer = client.post("/packages/refresh", headers={"HX-Request": "true"})
        assert "The repository was read." in answer.text
        reader.ended = False
        answer = client.post("/packages/refresh", headers={"HX-Request": "true"})
        assert "The repository is being read." in answer.text
        assert client.post("/packages/refresh").headers["location"] == "/packages"
    assert reader.asked == 3


# ---- A new rollout


def plan(client: httpx.Client, **fields: Any) -> tuple[httpx.Response, dict[str, str]]:
    sent = {
        "do": "plan", "package": MODEL, "all": "on", "stage_kind": "percent", "stage_size": "100",
        "stage_soak": "1m", "gate.f1": "on", "gate.f1.max_drop": "2", "gate.f1.min_questions": "50",
    } | fields  # fmt: skip
    response = client.post("/rollouts/new", data=sent)
    hidden = {one.get("name", ""): one["value"] for one in Read(response.text).all("input")
              if one.get("type") == "hidden"}  # fmt: skip
    return response, hidden


def test_a_plan_is_begun_once_however_often_it_is_sent(world: World, otto: httpx.Client) -> None:
    response, hidden = plan(otto, note="once")
    assert response.status_code == 200
    spec = RolloutSpec.model_validate_json(hidden["spec"])
    assert spec.gates.f1 is not None
    assert spec.gates.f1.max_drop == 2
    assert spec.gates.exact_match is None
    places = {otto.post("/rollouts", data=hidden).headers["location"] for _ in range(3)}
    assert len(places) == 1
    other = json.loads(hidden["spec"]) | {"note": "another"}
    again = otto.post("/rollouts", data=hidden | {"spec": json.dumps(other)})
    assert again.status_code == 422


def test_what_only_the_fleet_knows_is_said_at_its_field(world: World, otto: httpx.Client) -> None:
    for fields, field, said in (
        ({"package": "none@1.0.0"}, "package", "offers no none 1.0.0"),
        ({"all": "", "devices": "zzz"}, "devices", "no such devices: zzz"),
        ({"query": "f1<"}, "query", "the query"),
    ):
        response, hidden = plan(otto, **fields)
        assert 400 <= response.status_code < 500
        page = Read(response.text)
        assert page.all("p", id=f"wrong-{field}"), field
        assert said in page.plain
        assert "spec" not in hidden


def test_a_plan_that_nobody_made_is_refused(world: World, otto: httpx.Client) -> None:
    for sent in ({"spec": "{}", "key": "k" * 32}, {"spec": "no JSON", "key": "k" * 32}):
        response = otto.post("/rollouts", data=sent)
        assert response.status_code == 422
        assert "That is no plan of ours." in response.text
    assert otto.post("/rollouts", data={"spec": "{}", "key": "short"}).status_code == 400


def test_pages_name_no_other_host(world: World, otto: httpx.Client) -> None:
    rollout = begun(world.rows)
    for path in ("/rollouts", f"/rollouts/{rollout}", "/rollouts/new", "/packages", "/audit"):
        found = re.findall(r'(?:href|src|action|hx-[a-z-]+)="(https?:[^"]*|//[^"]*)"',
                           otto.get(path).text)  # fmt: skip
        assert not found, path
