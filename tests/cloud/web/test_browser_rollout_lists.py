"""Lists, forms, packages and the audit log in a real Chromium; all of them accessible."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select, update
from support.browser import Chromium
from support.fleet import NEW
from support.fleet_databases import Databases
from support.pages import EVIL
from support.rollout_rows import GATE
from support.rollout_site import (
    BREACHED,
    PASSED,
    begun,
    button,
    expect_not_loaded_anew,
    filled_site,
    mark,
)
from support.sites import Site, site

from edgeqa_cloud.rollout.tables import catalogue, rollouts


@pytest.fixture(scope="module")
def here(sqlite_databases: Databases) -> Iterator[Site]:
    with filled_site(sqlite_databases) as made:
        yield made


@pytest.fixture
def rollout(here: Site) -> str:
    """One in its first stage."""
    return begun(here)


LOOKS: dict[str, dict[str, bool]] = {
    "desk": {}, "phone in dark": {"phone": True, "dark": True}, "desk in dark": {"dark": True},
    "phone": {"phone": True},
}  # fmt: skip


@pytest.mark.parametrize(
    "look",
    ["desk", *(pytest.param(one, marks=pytest.mark.slow)
               for one in ("phone in dark", "desk in dark", "phone"))],
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
        expect(page.locator("#stage-row-3")).to_have_count(0)
        page.get_by_label("F1: at most lower by").fill("2.5")
        page.locator("#stage-0-soak").fill("1m")
        page.get_by_label("Why, for people").fill(f"said twice {EVIL}")
        show(page)
        begin = page.get_by_role("button", name="Begin: 8 devices, 1 first")
        expect(begin).to_be_visible()
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
