"""Pages of rollouts, packages and the audit log without a browser, and the parts of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select
from support.consoles import browsing
from support.fleet import NEW, OLD
from support.fleet_databases import Databases
from support.pages import EVIL, NOW_MS, Read, World, served
from support.rollout_rows import GATE, RolloutRows
from support.sites import site

from edgeqa_cloud.rollout.spec import RolloutSpec, Target
from edgeqa_cloud.rollout.states import Action, MemberState, RolloutState
from edgeqa_cloud.rollout.tables import rollout_orders, rollouts
from edgeqa_cloud.rollout.views import GateView, PackageView, RolloutView
from edgeqa_cloud.web.audit_state import AuditState
from edgeqa_cloud.web.evidence import MAX_LINES, evidence_text
from edgeqa_cloud.web.gate_bars import gate_bar, gate_figure, gate_interval, gate_words
from edgeqa_cloud.web.impact import Choice, Standing, choices
from edgeqa_cloud.web.rollout_draft import Draft
from edgeqa_cloud.web.rollout_state import MembersState, RolloutsState
from edgeqa_cloud.web.rollout_words import target_words
from edgeqa_cloud.web.score_cards import architecture_words, score_cards

MODEL = f"{NEW['name']}@{NEW['version']}"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
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


# ---- Parts


def view(**fields: Any) -> RolloutView:
    spec = RolloutSpec.model_validate(
        {"package": {"name": "m", "version": "1.0.0"}, "target": {"all": True},
         "stages": [{"count": 2}, {"percent": 100}]}
    )  # fmt: skip
    states = fields.pop("states", {"changed": 2, "waiting": 3})
    stage = {"soak_s": 60.0, "state": "changing"}
    return RolloutView.model_validate(
        {
            "rollout": "r-1", "created_ms": 0, "created_by": "user:anna",
            "model": {"name": "m", "version": "1.0.0", "digest": None}, "state": "running",
            "code": None, "reason": None, "stage": 0, "stages": 2, "devices": 5, "states": states,
            "ended_ms": None, "updated_ms": 0, "revision": 1, "note": "", "spec": spec,
            "stage_list": [
                {"stage": 0, "label": "2 devices", "devices": 2, "states": {"changed": 2}, **stage},
                {"stage": 1, "label": "100 %", "devices": 3, "states": {"waiting": 3}, **stage},
            ],
            "stage_begun_ms": 0, "soak_begun_ms": None, "soak_ends_ms": None, "gates": [],
            "gates_ms": None, "waiting_for": None, "orders": [],
        } | fields
    )  # fmt: skip


def choice(action: Action, wished: dict[MemberState, int] | None = None, **fields: Any) -> Choice:
    made = Standing(view(**fields), wished or {})
    return next(one for one in choices(made) if one.action is action)


def test_an_undo_counts_who_got_a_wish() -> None:
    one = choice(Action.UNDO, {MemberState.CHANGED: 1})
    assert one.confirm == "Undo on 1 device"
    assert one.effects[0].startswith("1 device goes back to the model from before: 1 changed.")
    assert "1 device had the model already: that stays." in one.effects
    assert any(said.startswith("3 devices without a wish yet") for said in one.effects)


def test_an_undo_of_nothing_says_so() -> None:
    one = choice(Action.UNDO, state="completed", states={"superseded": 2, "waiting": 0})
    assert one.effects[0].startswith("No device got the model")
    assert one.confirm == "Undo on 0 devices"


def test_the_last_stage_is_promoted_to_the_end() -> None:
    one = choice(Action.PROMOTE, stage=1, states={"changed": 5})
    assert one.confirm == "Promote: complete the rollout"
    assert any("the rollout completes" in said for said in one.effects)


def test_promote_names_what_it_waives() -> None:
    one = choice(Action.PROMOTE, gates=[GATE | {"of": "questions", "required": True}])
    assert "(F1)" in one.effects[0]
    assert one.refused is None


@pytest.mark.parametrize("action", [Action.PROMOTE, Action.RESUME])
def test_a_breach_is_in_the_way(action: Action) -> None:
    one = choice(action, state="paused", gates=[GATE | {"status": "breached"}])
    assert one.possible
    assert one.refused is not None
    assert "breached" in one.refused


@pytest.mark.parametrize("state", RolloutState)
def test_each_order_is_described_in_each_state(state: RolloutState) -> None:
    for one in choices(Standing(view(state=state.value), {})):
        assert one.effects
        assert one.confirm
        assert one.title


def gate(**fields: Any) -> GateView:
    return GateView.model_validate(GATE | fields)


def test_a_bar_shows_where_the_interval_lies() -> None:
    bar = gate_bar(gate(value=-1.0, low=-2.0, high=0.5, limit=-3.0))
    assert bar is not None
    assert bar.neutral is not None
    assert 0 < bar.limit < bar.low < bar.value < bar.neutral < bar.high < 100
    assert (bar.bad, bar.bad_width) == (0.0, bar.limit)  # fewer points are worse


def test_more_of_a_cost_is_worse() -> None:
    bar = gate_bar(gate(unit="ratio", value=1.8, low=1.6, high=2.1, limit=1.5))
    assert bar is not None
    assert bar.neutral is not None
    assert bar.neutral < bar.limit < bar.low < bar.value < bar.high
    assert bar.bad == bar.limit
    assert bar.bad + bar.bad_width == pytest.approx(100)


def test_a_bar_of_one_figure() -> None:
    bar = gate_bar(gate(unit="share", value=0.0, low=None, high=None, limit=0.0))
    assert bar is not None
    assert bar.width == 0
    assert 0 <= bar.value == bar.limit <= 100


def test_no_bar_without_figures() -> None:
    assert gate_bar(gate(value=None)) is None
    assert gate_bar(gate(limit=None)) is None


def test_a_bar_in_words() -> None:
    one = gate(value=-1.2, low=-7.5, high=5.1, limit=-3.0)
    plain = gate_words(one).replace("\u202f", " ")
    assert plain == (
        "value −1.2 points, 95 % interval −7.5 points to +5.1 points, limit −3.0 points"
    )
    assert gate_interval(one).replace("\u202f", " ") == "−7.5 to +5.1; limit −3.0 points"
    assert gate_figure(None, "points") == "–"
    assert gate_figure(0.031, "share").replace("\u202f", " ") == "3.1 %"


def test_each_mistake_of_a_form_goes_to_its_field() -> None:
    sent = [
        ("package", "m@1.0.0"), ("all", "on"), ("stage_kind", "percent"), ("stage_size", "120"),
        ("stage_soak", "soon"), ("stage_kind", "devices"), ("stage_size", "a b"),
        ("stage_soak", "0"), ("gate.memory", "on"), ("gate.memory.max_ratio", "0"),
        ("gate.error_rate", "on"), ("gate.error_rate.max_rise", "300"), ("max_per_minute", "0"),
        ("window_days", "every day"), ("window_begin", "25:00"), ("window_end", "06:00"),
        ("window_zone", "UTC"), ("offline_expire", "-1d"), ("joiners", "nobody"),
    ]  # fmt: skip
    spec, errors = Draft.of(sent).spec()
    assert spec is None
    assert set(errors) == {
        "stage-0-size", "stage-0-soak", "gate.memory.max_ratio", "gate.error_rate.max_rise",
        "max_per_minute", "window-0", "offline_expire", "joiners",
    }  # fmt: skip


def test_an_empty_form_says_what_is_missing() -> None:
    spec, errors = Draft.of([]).spec()
    assert spec is None
    assert {"package", "target"} <= set(errors)


def test_stages_that_overlap_are_told_at_the_stages() -> None:
    sent = [("package", "m@1.0.0"), ("all", "on")]
    for size in ("50", "20"):
        sent += [("stage_kind", "percent"), ("stage_size", size), ("stage_soak", "1m")]
    _, errors = Draft.of(sent).spec()
    assert "overlap" in errors["stages"][0]


def test_what_the_form_begins_with_is_what_the_spec_has() -> None:
    draft = Draft.usual(MODEL)
    spec, errors = Draft(
        {**draft.values, "all": "on"}, draft.stages, draft.windows, draft.gates
    ).spec()
    assert not errors
    assert spec == RolloutSpec.model_validate(
        {"package": {"name": NEW["name"], "version": NEW["version"]}, "target": {"all": True}}
    )


@pytest.mark.parametrize(
    ("what", "stages", "windows"),
    [("add-stage", 4, 0), ("remove-stage-0", 2, 0), ("remove-stage-9", 3, 0), ("add-window", 3, 1),
     ("remove-window-0", 3, 0), ("remove-stage-x", 3, 0), ("", 3, 0), ("explode-stage-1", 3, 0)],
)  # fmt: skip
def test_rows_come_and_go(what: str, stages: int, windows: int) -> None:
    draft = Draft.usual().changed(what)
    assert (len(draft.stages), len(draft.windows)) == (stages, windows)


def test_addresses_come_back_as_they_were() -> None:
    said = {"q": "a b&c", "state": "failed", "stage": "2", "page": "3"}
    members = MembersState.of("/rollouts/r-1", said)
    assert members.address() == "/rollouts/r-1?q=a+b%26c&state=failed&stage=2&page=3"
    assert members.address(stage=1).endswith("stage=1")
    assert members.filter().stage == 1
    assert not MembersState.of("/x", {"state": "gone", "stage": "0", "q": " "}).filtered
    listed = RolloutsState.of({"state": "running", "page": "2"})
    assert listed.filter(final=True) is None
    assert listed.filter(final=False) is not None
    assert listed.address() == "/rollouts?state=running&page=2"
    log = AuditState.of({"since": "2026-11-25", "until": "2026-11-25", "actor": "engine"})
    asked = log.filter()
    assert asked.since_ms is not None
    assert asked.until_ms is not None
    assert asked.until_ms - asked.since_ms == 86_400_000
    assert log.address() == "/audit?actor=engine&since=2026-11-25&until=2026-11-25"
    assert not AuditState.of({"page": "7"}).filtered


def test_evidence_is_bounded_and_plain() -> None:
    text = evidence_text({"a": {"b": [1.5, None]}, "turns \u202e the line": "x\x00y"})
    assert '    "b": [' in text
    assert "\u202e" not in text
    assert "\x00" not in text
    long = evidence_text({"all": list(range(5000))})
    assert len(long.splitlines()) == MAX_LINES + 1


def test_a_target_in_words() -> None:
    assert target_words(Target(all=True)) == "all devices"
    assert target_words(Target(query="f1<70")) == "all devices; of those: f1<70"
    assert target_words(Target(groups=["a", "b"], tags=["c"])) == "groups a, b, and tag c"
    named = target_words(Target(devices=[f"d{number}" for number in range(14)]))
    assert named.startswith("14 devices: d0, ")
    assert named.endswith("and 4 more")


def package(**fields: Any) -> PackageView:
    return PackageView.model_validate(
        {**OLD, "bytes": 1, "precision": "int8", "architecture": {}, "licence": None, "scores": [],
         "cards": [], "baseline": None, "forced": None, "first_seen_ms": 0, "last_seen_ms": 0,
         "gone_ms": None, "devices": 0} | fields
    )  # fmt: skip


def test_the_packaged_card_comes_first() -> None:
    cards = score_cards(
        package(cards=[{"variant": "fp32"}, {"variant": "int8", "packaged": True, "f1": 75.97}])
    )
    assert [(one.variant, one.f1) for one in cards] == [("int8", 75.97), ("fp32", None)]


def test_a_card_of_anything_is_shown_as_far_as_it_goes() -> None:
    (card,) = score_cards(
        package(cards=[{"variant": 7, "f1": "75", "p95_ms": float("nan"), "packaged": "yes",
                        "f1_interval": [1, "x"], "questions": True,
                        "exact_match_interval": [1, 2]}])
    )  # fmt: skip
    assert (card.variant, card.f1, card.p95_ms, card.packaged) == ("", None, None, False)
    assert (card.f1_interval, card.questions) == (None, None)
    assert card.exact_match_interval == (1.0, 2.0)
    assert not architecture_words({"layers": "three"})


def test_a_manifest_without_cards_shows_its_scores() -> None:
    scores = [{"precision": "fp32", "f1": 76.2}, {"precision": "int8", "f1": 76.0}]
    assert [one.packaged for one in score_cards(package(scores=scores))] == [True, False]


def test_pages_name_no_other_host(world: World, otto: httpx.Client) -> None:
    rollout = begun(world.rows)
    for path in ("/rollouts", f"/rollouts/{rollout}", "/rollouts/new", "/packages", "/audit"):
        found = re.findall(r'(?:href|src|action|hx-[a-z-]+)="(https?:[^"]*|//[^"]*)"',
                           otto.get(path).text)  # fmt: skip
        assert not found, path
