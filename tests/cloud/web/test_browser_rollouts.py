"""Pages of rollouts, packages and the audit log in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import insert, select, update
from support.browser import Chromium
from support.fleet import NEW, OLD
from support.fleet_databases import Databases
from support.pages import EVIL
from support.rollout_rows import GATE
from support.sites import Site, site

from edgeqa_cloud.rollout.tables import catalogue, rollout_members, rollout_orders, rollouts
from edgeqa_cloud.tables import devices

CARD = {
    "variant": "int8", "packaged": True, "dataset": "dev-part-v1.1", "questions": 4961,
    "exact_match": 65.19, "exact_match_interval": [63.86, 66.5], "f1": 75.97,
    "f1_interval": [74.91, 77.03], "p50_ms": 14.78, "p95_ms": 34.99, "model_bytes": 17_619_495,
    "peak_memory_bytes": 138_792_960, "machine": "x86_64 AMD EPYC", "threads": 1,
}  # fmt: skip
MANIFEST = {
    "precision": "int8", "licence": "Apache-2.0", "cards": [CARD],
    "architecture": {"type": "distilbert", "layers": 3, "hidden": 384, "parameters": 17_241_986},
}  # fmt: skip
BREACHED = GATE | {
    "gate": "p95_latency", "status": "breached", "unit": "ratio", "value": 1.8, "low": 1.6,
    "high": 2.1, "limit": 1.5, "before": 30.2, "after": 55.1, "required": False,
    "message": "p95 55.1 ms against 30.2 ms before",
}  # fmt: skip
PASSED = GATE | {"gate": "exact_match", "status": "passed", "value": 0.5, "low": -1.0, "high": 2.0,
                 "message": "EM +0.5 points [-1.0, 2.0]"}  # fmt: skip
# Two changed, one failed and one on the way in the first stage; four wait for the second.
MEMBERS = ("changed", "changed", "failed", "wished", "waiting", "waiting", "waiting", "waiting")


@pytest.fixture(scope="module")
def here(sqlite_databases: Databases) -> Iterator[Site]:
    """A site with eight devices and two packages; each test has rollouts of its own."""
    with sqlite_databases.open(sqlite_databases.new()) as database, site(database) as made:
        for number in range(len(MEMBERS)):
            made.fleet.device(f"dev-{number}", heartbeat_interval_s=3600.0)
        made.rows.package(NEW, manifest=MANIFEST)
        made.rows.package(OLD)
        yield made


@pytest.fixture
def rollout(here: Site) -> str:
    """One in its first stage."""
    return begun(here)


def begun(here: Site, **columns: Any) -> str:
    now_ms = here.fleet.now_ms
    return here.rows.rollout(
        [(key, 0 if key <= 4 else 1, state) for key, state in enumerate(MEMBERS, 1)],
        **{
            "spec": {"stages": [{"count": 4, "soak_s": 85}, {"percent": 100, "soak_s": 85}],
                     "note": "the smaller reader"},
            "each": {"wish": "w-1"},
            "stage_begun_ms": now_ms - 60_000, "soak_begun_ms": now_ms - 10_000,
            "gates": [GATE, PASSED], "gates_stage": 0, "gates_ms": now_ms - 1000, **columns,
        },
    )  # fmt: skip


def orders(here: Site, rollout: str) -> list[Any]:
    with here.rows.database.reading() as connection:
        return list(
            connection.execute(
                select(rollout_orders)
                .join(rollouts, rollouts.c.id == rollout_orders.c.rollout_id)
                .where(rollouts.c.rollout == rollout)
                .order_by(rollout_orders.c.id)
            )
        )


def move(here: Site, rollout: str, device: str, **columns: Any) -> None:
    """As an engine does when a device says something."""
    with here.rows.database.writing() as connection:
        key = select(rollouts.c.id).where(rollouts.c.rollout == rollout).scalar_subquery()
        who = select(devices.c.id).where(devices.c.device == device).scalar_subquery()
        connection.execute(
            update(rollout_members)
            .where(rollout_members.c.rollout_id == key, rollout_members.c.device_id == who)
            .values(columns)
        )
    here.rows.change(rollout)


def button(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def dialog(page: Page) -> Any:
    return page.locator("dialog[open]")


def mark(page: Page) -> None:
    """What a page that is loaded anew has not."""
    page.evaluate("window.marked = true")


def expect_not_loaded_anew(page: Page) -> None:
    assert page.evaluate("window.marked === true"), "the page was loaded anew"


LOOKS: dict[str, dict[str, bool]] = {
    "desk": {}, "phone in dark": {"phone": True, "dark": True}, "desk in dark": {"dark": True},
    "phone": {"phone": True},
}  # fmt: skip


@pytest.mark.parametrize(
    "look",
    ["desk", "phone in dark", *(pytest.param(one, marks=pytest.mark.slow)
                                for one in ("desk in dark", "phone"))],
)  # fmt: skip
def test_pages_are_accessible(here: Site, chromium: Chromium, look: str) -> None:
    rollout = begun(here, gates=[GATE, PASSED, BREACHED])
    here.rows.entry("gate_breached", "p95_latency: breached", rollout=rollout,
                    evidence={"gates": [BREACHED]}, age_ms=1000)  # fmt: skip
    with here.visitor(chromium, **LOOKS[look]) as visitor:
        for path in (f"/rollouts/{rollout}", "/rollouts", "/rollouts/new", "/packages", "/audit"):
            visitor.see(path)
            visitor.check_accessible()


def test_dialogs_are_accessible(here: Site, chromium: Chromium, rollout: str) -> None:
    with here.visitor(chromium, after=f"/rollouts/{rollout}", phone=True) as visitor:
        button(visitor.page, "Undo").click()
        visitor.check_accessible()


def test_the_page_says_where_a_rollout_stands(here: Site, chromium: Chromium, rollout: str) -> None:
    here.rows.entry("stage_begun", "stage 1 begun: 4 devices", rollout=rollout,
                    evidence={"stage": 0, "devices": 4})  # fmt: skip
    with here.visitor(chromium, after=f"/rollouts/{rollout}") as visitor:
        page = visitor.page
        first = page.locator("#stage-0")
        expect(first).to_have_attribute("aria-current", "step")
        expect(first).to_contain_text("4 devices: ")
        for told in ("2 changed", "1 failed", "1 wished", "soaking"):
            expect(first).to_contain_text(told)
        expect(page.locator("#stage-1")).to_contain_text("waiting")
        gate = page.get_by_role("row", name=re.compile("^F1"))
        expect(gate).to_contain_text("undecided")
        expect(gate).to_contain_text("−7.5 to +5.1; limit −3.0")
        bar = gate.get_by_role("img")
        expect(bar).to_have_accessible_name(re.compile("value −1.2.points, 95 % interval"))
        soak = page.get_by_text("Waits for").locator("..").locator("time")
        before = soak.inner_text()
        expect(soak).not_to_have_text(before)  # a countdown
        page.locator("summary", has_text="Evidence").first.click()
        expect(page.get_by_role("region", name=re.compile("^Evidence"))).to_contain_text(
            '"devices": 4'
        )


MODEL = "minilm-l3-distil-squad 0.2.0"
DONE = {
    "Pause": ({}, ["4 devices without a wish yet: none until", "1 device under way: they finish",
                   f"2 devices keep {MODEL}"], "Pause the rollout"),
    "Resume": ({"state": "paused"}, ["Stage 1 of 2 goes on",
                                     "4 devices follow in later stages if the gates hold"],
               "Resume for 4 devices"),
    "Promote": ({}, ["Stage 1 of 2 ends as soon as", "(F1)",
                     f"Stage 2 is next: 4 devices get {MODEL}"], "Promote to stage 2: 4 devices"),
    "Abort": ({}, ["4 devices without a wish yet: nothing changes there",
                   "1 device goes back, from under way", f"2 devices keep {MODEL}"],
              "Abort the rollout"),
    "Undo": ({}, ["4 devices go back to the model from before: ",
                  ": 2 changed, 1 under way, 1 that failed",
                  "4 devices without a wish yet: nothing changes there"], "Undo on 4 devices"),
}  # fmt: skip


@pytest.mark.parametrize("order", DONE)
def test_an_order_says_what_it_does_and_is_given(
    here: Site, chromium: Chromium, order: str
) -> None:
    columns, effects, confirm = DONE[order]
    rollout = begun(here, **columns)
    with here.visitor(chromium, after=f"/rollouts/{rollout}") as visitor:
        page = visitor.page
        mark(page)
        button(page, order).click()
        for effect in effects:
            expect(dialog(page)).to_contain_text(effect)
        button(page, "Cancel").locator("visible=true").click()
        expect(dialog(page)).to_have_count(0)
        assert not orders(here, rollout)
        button(page, order).click()
        dialog(page).get_by_label("Why").fill("as agreed")
        button(dialog(page), confirm).click()
        expect(page.locator("#outcome")).to_contain_text(f"{order}: done.")
        expect(dialog(page)).to_have_count(0)
        given = page.get_by_role("region", name="Orders").get_by_role("listitem")
        expect(given).to_contain_text("as agreed")
        expect(given).to_contain_text("user:otto")
        expect_not_loaded_anew(page)
    (row,) = orders(here, rollout)
    assert (row.action, row.actor, row.note) == (order.lower(), "user:otto", "as agreed")


def test_a_page_follows_the_engine_without_a_reload(
    here: Site, chromium: Chromium, rollout: str
) -> None:
    here.rows.entry("stage_begun", "stage 1 begun", rollout=rollout, evidence={"stage": 0})
    with here.visitor(chromium, after=f"/rollouts/{rollout}") as visitor:
        page = visitor.page
        visitor.wait_live()
        mark(page)
        page.locator("summary", has_text="Evidence").first.click()
        page.get_by_label("Search").fill("dev-3")
        row = page.get_by_role("row", name=re.compile("dev-3"))
        expect(row).to_contain_text("wished")
        expect(page.get_by_role("row", name=re.compile("dev-0"))).to_have_count(0)
        move(here, rollout, "dev-3", state="failed", code="checks_failed", message="two of five")
        expect(row).to_contain_text("two of five")
        expect(page.locator("#stage-0")).to_contain_text("2 failed")
        here.rows.change(rollout, state="undoing", code="gate_breached",
                         reason="f1 fell by 9.1 points", gates=[BREACHED])  # fmt: skip
        expect(page.get_by_role("heading", level=1)).to_contain_text("undoing")
        expect(page.get_by_text("f1 fell by 9.1 points")).to_be_visible()
        expect(page.get_by_role("row", name=re.compile("^Latency p95"))).to_contain_text("breached")
        expect(button(page, "Pause")).to_have_count(0)
        # What the person did with the page stays.
        expect(page.get_by_label("Search")).to_have_value("dev-3")
        expect(page.get_by_role("region", name=re.compile("^Evidence"))).to_be_visible()
        expect_not_loaded_anew(page)
        assert page.url.endswith(f"/rollouts/{rollout}?q=dev-3")


def test_a_stale_page_orders_nothing(here: Site, chromium: Chromium, rollout: str) -> None:
    with here.visitor(chromium, after=f"/rollouts/{rollout}") as visitor:
        page = visitor.page
        visitor.wait_live()
        button(page, "Abort").click()
        here.rows.change(rollout, stage=1)
        expect(page.locator("#stage-1")).to_have_attribute("aria-current", "step")
        # The dialog is what the person reads, and stays as it was.
        expect(dialog(page)).to_contain_text("revision 1.")
        button(dialog(page), "Abort the rollout").click()
        expect(page.locator("#outcome")).to_contain_text("Abort was refused")
        expect(page.locator("#outcome")).to_contain_text("changed_meanwhile")
        expect(dialog(page)).to_have_count(0)
        assert not orders(here, rollout)


def test_devices_that_move_on_do_not_keep_anybody_from_stopping(
    here: Site, chromium: Chromium, rollout: str
) -> None:
    with here.visitor(chromium, after=f"/rollouts/{rollout}") as visitor:
        button(visitor.page, "Undo").click()
        move(here, rollout, "dev-3", state="changed")
        button(dialog(visitor.page), "Undo on 4 devices").click()
        expect(visitor.page.locator("#outcome")).to_contain_text("Undo: done.")
    assert [one.action for one in orders(here, rollout)] == ["undo"]


def test_a_refused_order_says_why(here: Site, chromium: Chromium, rollout: str) -> None:
    here.engine.obey = lambda: here.rows.obey("refused", code="gate_breached", message=EVIL)
    try:
        with here.visitor(chromium, after=f"/rollouts/{rollout}") as visitor:
            page = visitor.page
            button(page, "Promote").click()
            button(dialog(page), "Promote to stage 2: 4 devices").click()
            expect(page.locator("#outcome")).to_contain_text("Promote was refused")
            expect(page.locator("#outcome")).to_contain_text(EVIL)
            expect(page.get_by_role("region", name="Orders")).to_contain_text("refused")
            assert not visitor.ran()
    finally:
        here.engine.obey = here.rows.obey


def test_no_button_goes_over_a_breached_gate(here: Site, chromium: Chromium) -> None:
    rollout = begun(here, state="paused", gates=[BREACHED], code="gate_breached")
    with here.visitor(chromium, after=f"/rollouts/{rollout}") as visitor:
        for name in ("Promote", "Resume"):
            expect(button(visitor.page, name)).to_be_disabled()
            expect(button(visitor.page, name)).to_have_accessible_description(
                re.compile("no order goes over a breached gate")
            )
        expect(button(visitor.page, "Undo")).to_be_enabled()


def test_by_the_keyboard_alone(here: Site, chromium: Chromium, rollout: str) -> None:
    with here.visitor(chromium, after=f"/rollouts/{rollout}") as visitor:
        page = visitor.page
        visitor.press("Tab")
        assert visitor.focused() == "Skip to the content"
        visitor.press("Enter")
        visitor.tab_to("Pause")
        visitor.press("Enter")
        expect(dialog(page)).to_contain_text("Pause")
        visitor.press("Escape")
        expect(dialog(page)).to_have_count(0)
        assert visitor.focused() == "Pause"
        visitor.press("Enter")
        visitor.tab_to("Pause the rollout", most=5)
        visitor.press("Enter")
        expect(page.locator("#outcome")).to_contain_text("Pause: done.")
    assert [one.action for one in orders(here, rollout)] == ["pause"]


def test_a_viewer_has_no_controls_and_is_refused(
    here: Site, chromium: Chromium, rollout: str
) -> None:
    with here.visitor(chromium, "vera", after=f"/rollouts/{rollout}") as visitor:
        visitor.allow("status of 403")
        page = visitor.page
        expect(page.get_by_role("heading", level=1)).to_contain_text(rollout)
        for name in DONE:
            expect(button(page, name)).to_have_count(0)
        answers = page.evaluate(
            """async (path) => {
              const sent = {action: "undo", revision: "1", state: "running", stage: "0"};
              const found = [];
              for (const [to, body] of [[path + "/orders", sent], ["/rollouts/new", {do: "plan"}],
                                        ["/rollouts", {spec: "{}", key: "0".repeat(32)}],
                                        ["/packages/refresh", {}]]) {
                const answer = await fetch(to, {method: "POST", body: new URLSearchParams(body)});
                found.push(answer.status);
              }
              return found;
            }""",
            f"/rollouts/{rollout}",
        )
        assert answers == [403, 403, 403, 403]
        visitor.see("/rollouts")
        expect(page.get_by_role("link", name="New rollout")).to_have_count(0)
        visitor.see("/packages")
        expect(page.get_by_role("link", name=re.compile("^Roll out"))).to_have_count(0)
        expect(page.get_by_role("button", name=re.compile("repository"))).to_have_count(0)
        visitor.see("/rollouts/new")
        expect(page.get_by_role("heading", level=1)).to_contain_text("You may not do this")
    assert not orders(here, rollout)


def test_hostile_text_is_text(here: Site, chromium: Chromium) -> None:
    rollout = begun(
        here, spec={"note": f"note {EVIL}"}, reason=f"reason {EVIL}", code="x", state="paused",
        gates=[GATE | {"message": f"gate {EVIL}", "of": f"of{EVIL}"}],
        each={"message": f"device {EVIL}", "code": "</td>"}, created_by=f"user:{EVIL}",
    )  # fmt: skip
    here.rows.entry("ordered", f"entry {EVIL}", rollout=rollout, actor=f"token:{EVIL}",
                    evidence={EVIL: [EVIL]})  # fmt: skip
    with here.rows.database.writing() as connection:
        key = select(rollouts.c.id).where(rollouts.c.rollout == rollout).scalar_subquery()
        connection.execute(
            insert(rollout_orders).values(
                rollout_id=key, action="pause", actor=EVIL, note=f"order {EVIL}", ordered_ms=1,
                state="refused", code="x", message=f"refusal {EVIL}",
            )
        )  # fmt: skip
    with here.visitor(chromium, after=f"/rollouts/{rollout}") as visitor:
        page = visitor.page
        page.locator("summary", has_text="Evidence").first.click()
        for said in ("note", "reason", "gate", "device", "entry", "order", "refusal"):
            expect(page.get_by_text(f"{said} {EVIL}").first).to_be_visible()
        assert not visitor.ran()
        for path in ("/rollouts", "/audit"):
            visitor.see(path)
            expect(page.get_by_text(EVIL).first).to_be_visible()
            assert not visitor.ran()


def test_the_list_has_active_ones_first_and_follows(
    here: Site, chromium: Chromium, rollout: str
) -> None:
    over = begun(here, state="completed", ended_ms=here.fleet.now_ms)
    with here.visitor(chromium, after="/rollouts") as visitor:
        page = visitor.page
        visitor.wait_live()
        mark(page)
        active = page.get_by_role("region", name="Under way", exact=True)
        ended = page.get_by_role("region", name="Over", exact=True)
        expect(active).to_contain_text(rollout)
        expect(ended).to_contain_text(over)
        here.rows.change(rollout, state="aborted", ended_ms=here.fleet.now_ms)
        expect(ended).to_contain_text(rollout)
        expect(active).not_to_contain_text(rollout)
        page.get_by_label("Search").fill(over)
        expect(page.get_by_role("link", name=rollout)).to_have_count(0)
        expect(ended.get_by_role("link", name=over)).to_be_visible()
        page.get_by_label("State").select_option("undone")
        expect(page.get_by_text("No rollout matches.")).to_be_visible()
        page.get_by_role("link", name="Show all rollouts").click()
        expect(active).to_be_visible()
        page.get_by_role("link", name=over).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("completed")


def test_a_rollout_is_planned_and_then_begun_once(here: Site, chromium: Chromium) -> None:
    with here.visitor(chromium, after="/packages") as visitor:
        page = visitor.page
        page.get_by_role("link", name="Roll out minilm-l3-distil-squad 0.2.0").click()
        page.get_by_label("Query").fill("presence=")
        expect(page.locator("#count .text-bad")).to_be_visible()
        page.get_by_label("Query").fill("")
        page.get_by_label("All devices").check()
        expect(page.locator("#count")).to_contain_text("8 devices match, 8 of them online.")
        button(page, "Add a stage").click()
        expect(page.locator("#stage-row-3")).to_be_visible()
        # Mistakes stand beside their fields, and what was typed stays.
        page.locator("#stage-3-size").fill("many")
        page.get_by_label("F1: at most lower by").fill("much")
        page.locator("#stage-0-soak").fill("soon")
        show(page)
        for name, said in (("stage-3-size", "number"), ("gate.f1.max_drop", "number"),
                           ("stage-0-soak", "no span")):  # fmt: skip
            wrong = page.locator(f"[id='wrong-{name}']")
            expect(wrong).to_contain_text(said)
            expect(page.locator(f"[id='{name}']")).to_have_attribute("aria-invalid", "true")
        expect(page.locator("#stage-3-size")).to_have_value("many")
        visitor.check_accessible()
        button(page, "Remove stage 4").click()
        page.get_by_label("F1: at most lower by").fill("2.5")
        page.locator("#stage-0-soak").fill("1m")
        page.get_by_label("Why, for people").fill(f"said twice {EVIL}")
        show(page)
        begin = page.get_by_role("button", name="Begin: 8 devices, 1 first")
        expect(begin).to_be_visible()
        visitor.check_accessible()
        # A plan of other fields is no plan of these.
        page.get_by_label("Wishes a minute, at most").fill("60")
        expect(begin).to_have_count(0)
        show(page)
        begin.dblclick()
        page.wait_for_url("**/rollouts/r-*")
        expect(page.get_by_text(f"said twice {EVIL}").first).to_be_visible()
        assert not visitor.ran()
    with here.rows.database.reading() as connection:
        specs = [row.spec for row in connection.execute(select(rollouts))]
    made = [one for one in specs if one["note"].startswith("said twice")]
    assert len(made) == 1
    assert (made[0]["max_per_minute"], made[0]["gates"]["f1"]["max_drop"]) == (60, 2.5)


def show(page: Page) -> None:
    page.locator("#form").get_by_role("button", name="Show the plan").last.click()


def test_what_only_the_fleet_knows_stands_beside_its_field(here: Site, chromium: Chromium) -> None:
    with here.visitor(chromium, after="/rollouts/new?package=none@9.9.9") as visitor:
        page = visitor.page
        page.get_by_label("Devices by id").fill("nobody")
        show(page)
        expect(page.locator("#wrong-package")).to_contain_text("offers no none 9.9.9")
        page.get_by_label("What shall run").select_option(f"{NEW['name']}@{NEW['version']}")
        show(page)
        expect(page.locator("#wrong-devices")).to_contain_text("no such devices: nobody")


def test_a_plan_without_scripts(here: Site, chromium: Chromium) -> None:
    address = f"/rollouts/new?package={NEW['name']}@{NEW['version']}"
    with here.visitor(chromium, after=address, scripts=False) as visitor:
        page = visitor.page
        page.get_by_label("All devices").check()
        show(page)
        page.get_by_role("button", name=re.compile("^Begin")).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("running")


def test_packages_tell_their_scores_and_follow_the_repository(
    here: Site, chromium: Chromium
) -> None:
    with here.visitor(chromium, after="/packages") as visitor:
        page = visitor.page
        visitor.wait_live()
        card = page.get_by_role("region", name=re.compile("minilm-l3-distil-squad 0.2.0")).first
        for said in ("17.2 M parameters", "76.0", "74.9 to 77.0", "35 ms", "17", "Apache-2.0"):
            expect(card).to_contain_text(said)
        old = page.get_by_role("region", name=re.compile("minilm-l6-squad 0.1.1")).first
        expect(old.get_by_role("link", name="8 devices")).to_be_visible()
        button(page, "Read the repository now").click()
        expect(page.get_by_text("This process reads no repository.")).to_be_visible()
        with here.rows.database.writing() as connection:
            connection.execute(
                update(catalogue).values(
                    tried_ms=catalogue.c.tried_ms + 1, code="repository_unreachable",
                    message=f"no answer {EVIL}",
                )
            )  # fmt: skip
        expect(page.get_by_text(f"no answer {EVIL}")).to_be_visible()
        assert not visitor.ran()


def test_the_audit_log_is_searched_and_follows(
    here: Site, chromium: Chromium, rollout: str
) -> None:
    here.rows.entry("device_failed", "dev-2 failed its checks", rollout=rollout, device="dev-2",
                    evidence={"code": "checks_failed"})  # fmt: skip
    with here.visitor(chromium, after=f"/audit?rollout={rollout}") as visitor:
        page = visitor.page
        visitor.wait_live()
        mark(page)
        expect(page.get_by_text("1 to 1 of 1 entry")).to_be_visible()
        here.rows.entry("paused", "paused by user:otto", rollout=rollout, actor="user:otto")
        expect(page.get_by_text("1 to 2 of 2 entries")).to_be_visible()
        page.get_by_label("By", exact=True).fill("user:otto")
        page.get_by_label("By", exact=True).press("Enter")
        expect(page.get_by_text("dev-2 failed its checks")).to_have_count(0)
        expect(page.get_by_text("paused by user:otto")).to_be_visible()
        expect_not_loaded_anew(page)
        page.get_by_label("From").fill("2001-01-01")
        page.get_by_label("To").fill("2001-01-02")
        expect(page.get_by_text("No entry matches.")).to_be_visible()


def test_an_empty_cloud_says_what_to_do(sqlite_databases: Databases, chromium: Chromium) -> None:
    with (
        sqlite_databases.open(sqlite_databases.new()) as database,
        site(database) as empty,
        empty.visitor(chromium) as visitor,
    ):
        for path, said in (
            ("/audit?action=none", "No entry matches."),
            ("/rollouts/new", "The repository offers nothing"),
            ("/packages", "No repository is configured."),
            ("/rollouts", "No rollouts yet."),
        ):
            visitor.see(path)
            expect(visitor.page.get_by_text(said)).to_be_visible()
        visitor.check_accessible()
