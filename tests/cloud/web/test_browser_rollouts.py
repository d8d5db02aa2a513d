"""The page of a rollout in a real Chromium: what it shows, and each of its orders."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from sqlalchemy import insert, select
from support.browser import Chromium
from support.fleet_databases import Databases
from support.pages import EVIL
from support.rollout_rows import GATE
from support.rollout_site import (
    BREACHED,
    begun,
    button,
    dialog,
    expect_not_loaded_anew,
    filled_site,
    mark,
    move,
    orders,
)
from support.sites import Site

from edgeqa_cloud.rollout.tables import rollout_orders, rollouts


@pytest.fixture(scope="module")
def here(sqlite_databases: Databases) -> Iterator[Site]:
    with filled_site(sqlite_databases) as made:
        yield made


@pytest.fixture
def rollout(here: Site) -> str:
    """One in its first stage."""
    return begun(here)


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
        # What came of an order stays for the person to read, however often the page changes itself.
        move(here, rollout, "dev-4", state="wished")
        expect(visitor.page.get_by_role("row", name=re.compile("dev-4"))).to_contain_text("wished")
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
