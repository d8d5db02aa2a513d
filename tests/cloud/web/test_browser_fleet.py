"""The fleet's pages in a real Chromium: login, overview, list, a device, and what is live."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from playwright.sync_api import Page, expect
from sqlalchemy import text, update
from support.browser import PATIENCE_MS, Chromium, Visitor, serving
from support.consoles import PASSWORD, FakeAsker, make_console
from support.fleet import HOUR_MS, MINUTE_MS, OLD, Fleet, paired, spread
from support.fleet_databases import Databases
from support.pages import EVIL
from support.rollout_rows import RolloutRows

from edgeqa.errors import AnswerTimeoutError
from edgeqa.messages import Answer, ModelRef, Span
from edgeqa_cloud.api.app import build_app
from edgeqa_cloud.api.changes import Changes
from edgeqa_cloud.api.parts import Console
from edgeqa_cloud.database import Database
from edgeqa_cloud.tables import devices

MANY = 10_000
HOURS = 8
# Beside those that have a name.
FEW = 120


@dataclass
class World:
    """A console that is served with live events, and what is behind it."""

    url: str
    console: Console
    fleet: Fleet
    asker: FakeAsker
    sessions: dict[str, str] = field(default_factory=dict)

    @property
    def database(self) -> Database:
        return self.console.database

    def session(self, name: str) -> str:
        """Of one who logged in; a password takes its time, so once for all tests."""
        if name not in self.sessions:
            made = self.console.accounts.login(name, PASSWORD, address="test")
            self.sessions[name] = made.secret
        return self.sessions[name]

    def change(self, device: str, **columns: Any) -> None:
        """As a collector does when a device says something."""
        with self.database.writing() as connection:
            connection.execute(
                update(devices)
                .where(devices.c.device == device)
                .values({"last_seen_ms": now_ms(), **columns})
            )


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def live(databases: Databases) -> Iterator[World]:
    with databases.open(databases.new()) as database:
        changes = Changes(database=database, now_ms=now_ms, log=structlog.get_logger(), every_s=0.1)
        asker = FakeAsker()
        console = make_console(database, now_ms=now_ms, asker=asker, changes=changes)
        changes.start()
        try:
            with serving(build_app(console)) as url:
                yield World(url, console, Fleet(database, now_ms()), asker)
                changes.stop()  # streams end before the server does
        finally:
            changes.stop()


@pytest.fixture(scope="module")
def world(sqlite_databases: Databases) -> Iterator[World]:
    with live(sqlite_databases) as made:
        fill(made.fleet)
        yield made


@pytest.fixture(autouse=True)
def patient() -> None:
    """Two cores may be shared by many tests."""
    expect.set_options(timeout=PATIENCE_MS)


def fill(fleet: Fleet) -> None:
    """Some devices, one with hours behind it, one with hostile text."""
    fleet.many(FEW)
    key = fleet.device("pi5")
    for hour in range(HOURS):
        age_ms = hour * HOUR_MS + MINUTE_MS
        fleet.evaluation(
            key, age_ms=age_ms, exact_match=70.0 + hour % 7, exact_match_low=60.0,
            exact_match_high=82.0, f1=75.0 + hour % 5, f1_low=66.0, f1_high=85.0,
            paired=paired(-1.0, -3.5, 1.5) if hour == 3 else None,
        )  # fmt: skip
        fleet.rollup(key, age_ms=age_ms + HOUR_MS, total=spread([20.0 + hour] * 90 + [200.0] * 10))
        fleet.telemetry(key, age_ms=age_ms)
    fleet.swap(key, age_ms=HOUR_MS)
    fleet.swap(key, age_ms=2 * HOUR_MS, state="failed", code="disk_full", message="no room")
    fleet.gap(key, 3, 9)
    other = fleet.device(
        "pi6", groups=[f"group{EVIL}"], agent_version=EVIL, presence_reason=EVIL,
        model_name=EVIL, hardware={"board": EVIL, "machine": EVIL}, throttled=[EVIL],
    )  # fmt: skip
    fleet.evaluation(other, age_ms=1, trigger=EVIL[:16])
    fleet.swap(other, age_ms=2, message=EVIL, rollout=EVIL, name=EVIL)
    rows = RolloutRows(fleet.database, fleet.now_ms)
    rows.rollout([(key, 0, "wished"), (other, 1, "waiting")], reason=EVIL, spec={"note": EVIL})
    rows.entry("gate_breached", EVIL, rollout=None, actor=EVIL)


@contextmanager
def looking(chromium: Chromium, world: World, name: str, **options: Any) -> Iterator[Visitor]:
    with chromium.visitor(world.url, **options) as visitor:
        visitor.context.add_cookies(
            [{"name": "edgeqa-session", "value": world.session(name), "url": world.url}]
        )
        yield visitor


@contextmanager
def without_reload(page: Page) -> Iterator[None]:
    """What happens inside happens on the page that is there."""
    page.evaluate("window.same = true")
    yield
    assert page.evaluate("window.same") is True


def rows(page: Page) -> Any:
    return page.locator("#list tbody tr")


@pytest.mark.parametrize(
    ("phone", "dark"),
    [(True, True), *(pytest.param(*one, marks=pytest.mark.slow) for one in
                     ((False, False), (False, True), (True, False)))],
)  # fmt: skip
def test_pages_are_accessible(chromium: Chromium, world: World, phone: bool, dark: bool) -> None:
    # Pages of few parts look the same on both: once is enough.
    few = [] if phone else ["/devices?q=f1%3C", "/devices/nope"]
    with chromium.visitor(world.url, phone=phone, dark=dark) as visitor:
        visitor.see("/login")
        visitor.check_accessible()
    with looking(chromium, world, "otto", phone=phone, dark=dark) as visitor:
        visitor.allow("status of 404")
        charts = visitor.page.locator("figure[data-state=drawn]")
        for path in ("/", "/devices?q=pi", *few, "/devices/pi5"):
            visitor.see(path)
            if path == "/devices/pi5":
                expect(charts).to_have_count(5)
                visitor.page.locator("#chart-latency summary").click()
            visitor.check_accessible()
            ground = visitor.page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert ground == ("rgb(15, 20, 25)" if dark else "rgb(245, 246, 248)")


def test_logging_in_and_out_by_the_keyboard(chromium: Chromium, world: World) -> None:
    with chromium.visitor(world.url) as visitor:
        visitor.allow("status of 401")
        page = visitor.see("/devices?q=pi5")
        assert visitor.focused() == "Name"
        page.keyboard.type("otto")
        visitor.press("Tab")
        page.keyboard.type("wrong")
        visitor.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("The name or the password is wrong.")
        assert visitor.focused() == "Password"  # the name stays
        page.keyboard.type(PASSWORD)
        visitor.press("Enter")
        expect(page).to_have_url(f"{world.url}/devices?q=pi5")
        visitor.press("Tab")
        assert visitor.focused() == "Skip to the content"
        visitor.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        visitor.see("/devices")
        visitor.tab_to("Log out")
        visitor.press("Enter")
        expect(page).to_have_url(f"{world.url}/login")
        visitor.see("/devices")
        expect(page).to_have_url(f"{world.url}/login?next=%2Fdevices")


def test_a_session_that_ends_while_one_looks(chromium: Chromium, world: World) -> None:
    with looking(chromium, world, "vera") as visitor:
        visitor.allow("status of 401")
        page = visitor.see("/devices?q=sim-0000&sort=-f1")
        expect(rows(page)).to_have_count(10)
        visitor.context.add_cookies(
            [{"name": "edgeqa-session", "value": "ended", "url": world.url}]
        )
        page.get_by_label("Search or query").fill("sim-0001")
        expect(page.get_by_text("Your session has ended.")).to_be_visible()
        page.get_by_label("Name").fill("vera")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page).to_have_url(f"{world.url}/devices?q=sim-0000&sort=-f1")


def test_the_list_of_ten_thousand(chromium: Chromium, sqlite_databases: Databases) -> None:
    with live(sqlite_databases) as world, looking(chromium, world, "vera") as visitor:
        world.fleet.many(MANY)
        page = visitor.see("/devices")
        expect(page.locator("#list")).to_contain_text("1 to 50 of 10\u202f000 devices")
        page.get_by_role("link", name="Page 200").click()
        expect(page.locator("#list")).to_contain_text("9\u202f951 to 10\u202f000 of")
        expect(rows(page).last).to_contain_text("sim-09999")
        search = page.get_by_label("Search or query")
        with without_reload(page):
            search.press_sequentially("sim-0012 f1>60")
            expect(rows(page)).to_have_count(4)
            expect(page).to_have_url(re.compile(r"/devices\?q=sim-0012\+f1%3E60$"))
            assert visitor.focused().startswith("Search or query")
            search.fill("f1<")
            expect(page.locator("#list")).to_contain_text("expected a value after <")
            search.fill("")
            expect(rows(page)).to_have_count(50)
            page.get_by_label("Presence").select_option("silent")
            expect(page).to_have_url(f"{world.url}/devices?presence=silent")
            page.get_by_label("Group").fill("site-3")
            page.get_by_label("Group").press("Enter")
            expect(page).to_have_url(f"{world.url}/devices?presence=silent&group=site-3")
            page.get_by_label("Sort by").select_option("F1, highest")
            expect(page.locator("th[aria-sort=descending]")).to_contain_text("F1")
        page.reload()
        expect(page.get_by_label("Presence")).to_have_value("silent")
        expect(page.get_by_label("Group")).to_have_value("site-3")
        expect(page.locator("th[aria-sort=descending]")).to_contain_text("F1")


def test_the_list_by_the_keyboard(chromium: Chromium, world: World) -> None:
    with looking(chromium, world, "vera") as visitor:
        page = visitor.see("/devices?q=sim-")
        page.get_by_label("Sort by").focus()
        visitor.tab_to("Temperature↕")
        with without_reload(page):
            visitor.press("Enter")
            expect(page.locator("th[aria-sort=ascending]")).to_contain_text("Temperature")
            visitor.press("Enter")  # the focus is where it was
            expect(page.locator("th[aria-sort=descending]")).to_contain_text("Temperature")
            expect(rows(page).first).to_contain_text("84.0\u202f°C")
            visitor.tab_to("Next")
            visitor.press("Enter")
            current = page.locator(".pages [aria-current=page]")
            expect(current).to_have_text("2")
            expect(page.locator("#list")).to_contain_text("51 to 100 of 120 devices")
        page.go_back()
        expect(current).to_have_text("1")
        expect(page.locator("th[aria-sort=descending]")).to_contain_text("Temperature")
        rows(page).first.get_by_role("link").focus()
        visitor.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("sim-")


def test_a_link_that_just_changed_leads_to_its_new_address(
    chromium: Chromium, world: World
) -> None:
    with looking(chromium, world, "vera") as visitor:
        page = visitor.see("/devices?q=sim-")
        page.evaluate(
            """() => new MutationObserver((_, observer) => {
                const link = document.querySelector("th[aria-sort=ascending] a");
                if (!link?.textContent.startsWith("Temperature")) return;
                observer.disconnect();
                link.click(); // as soon as any person or program could
            }).observe(document.body, {subtree: true, childList: true, attributes: true})"""
        )
        with without_reload(page):
            page.get_by_role("link", name="Temperature").click()
            expect(page.locator("th[aria-sort=descending]")).to_contain_text("Temperature")


def test_a_list_is_live(chromium: Chromium, world: World) -> None:
    with looking(chromium, world, "vera") as visitor:
        page = visitor.see("/devices?q=sim-0007")
        visitor.wait_live()
        row = page.locator("#row-sim-00077")
        with without_reload(page):
            page.evaluate("document.querySelector('#row-sim-00077 a').focus()")
            world.change("sim-00077", presence="offline", presence_reason="stopped", f1=12.3)
            expect(row).to_contain_text("offline (stopped)")
            expect(row).to_contain_text("12.3\u202f%")
            assert visitor.focused() == "sim-00077"
            # What somebody is typing stays.
            box = page.get_by_label("Group")
            box.press_sequentially("half-typ")
            world.change("sim-00077", presence="online", f1=45.6)
            expect(row).to_contain_text("45.6\u202f%")
            expect(box).to_be_focused()
            expect(box).to_have_value("half-typ")


def test_a_device_is_live(chromium: Chromium, world: World) -> None:
    with looking(chromium, world, "otto") as visitor:
        page = visitor.see("/devices/pi5")
        visitor.wait_live()
        expect(page.locator("figure[data-state=drawn]")).to_have_count(5)
        with without_reload(page):
            page.get_by_label("New tag").fill("half")
            page.get_by_role("textbox", name="Question").fill("half a question")
            page.locator("#chart-em summary").click()
            page.evaluate("document.querySelector('#swaps').scrollIntoView()")
            down = page.evaluate("scrollY")
            canvas = page.locator("#chart-em canvas").element_handle()
            world.change("pi5", temperature_celsius=88.8, throttled=["throttled"])
            expect(page.locator("#device")).to_contain_text("88.8\u202f°C")
            expect(page.locator("#device")).to_contain_text("slowed down: throttled")
            assert page.get_by_label("New tag").input_value() == "half"
            assert page.get_by_role("textbox", name="Question").input_value() == "half a question"
            assert page.locator("#chart-em details").get_attribute("open") is not None
            assert page.evaluate("scrollY") == down
            assert canvas is not None
            assert canvas.evaluate("canvas => canvas.isConnected")


def test_the_overview_is_live(chromium: Chromium, world: World) -> None:
    with looking(chromium, world, "vera") as visitor:
        page = visitor.see("/")
        visitor.wait_live()
        expect(page.locator("#overview")).to_contain_text("122")
        expect(page.locator("figure[data-state]")).to_have_count(2)
        with without_reload(page):
            rows_of = RolloutRows(world.database, now_ms())
            rows_of.entry("paused", "a person paused it", rollout=None, actor="user:otto")
            expect(page.get_by_role("region", name="Newest decisions")).to_contain_text(
                "a person paused it"
            )
            # Times go on without being asked for.
            shown = page.locator("time").first
            shown.evaluate("time => { time.dataset.ms = Number(time.dataset.ms) - 7_200_000; }")
            expect(shown).to_have_text("2\u202fh ago")
        page.get_by_role("link", name="7 days").click()
        expect(page.get_by_role("link", name="7 days")).to_have_attribute("aria-current", "true")


def test_charts_say_what_they_show(chromium: Chromium, world: World) -> None:
    with looking(chromium, world, "vera") as visitor:
        page = visitor.see("/devices/pi5")
        chart = page.locator("#chart-em")
        expect(chart).to_have_attribute("data-state", "drawn")
        expect(chart.locator("[data-summary]")).to_contain_text(
            re.compile(r"EM 7\d\.0\u202f% at last, from 70\.0\u202f% to 76\.0\u202f%\. 8 points")
        )
        chart.locator("summary").click()
        expect(chart.locator("[data-table] tbody tr")).to_have_count(HOURS)
        expect(chart.locator("[data-table] thead")).to_contain_text("95 % from")
        assert chart.locator("canvas").evaluate("canvas => canvas.width") > 300
        page.get_by_role("link", name="30 days").click()
        expect(page.locator("figure[data-state=drawn]")).to_have_count(5)
        expect(page).to_have_url(re.compile("range=30d"))
        # Nothing measured is said, and nothing drawn.
        page = visitor.see("/devices/sim-00001")
        expect(page.locator("#chart-em [data-summary]")).to_have_text("No evaluation in this time.")
        expect(page.locator("#chart-em .plot")).to_be_hidden()


def test_a_chart_whose_figures_cannot_be_read(chromium: Chromium, world: World) -> None:
    with looking(chromium, world, "vera") as visitor:
        visitor.allow("503")
        page = visitor.page
        page.route("**/history*", lambda route: route.fulfill(
            status=503, content_type="application/problem+json", body='{"detail": "it is away"}'
        ))  # fmt: skip
        visitor.see("/devices/pi5")
        chart = page.locator("#chart-f1")
        expect(chart).to_contain_text("The figures cannot be read: it is away.")
        page.unroute("**/history*")
        chart.get_by_role("button", name="Try again").click()
        expect(chart).to_have_attribute("data-state", "drawn")


def test_the_theme_is_chosen_and_kept(chromium: Chromium, world: World) -> None:
    with looking(chromium, world, "vera") as visitor:
        page = visitor.see("/devices/pi5")
        expect(page.locator("figure[data-state=drawn]")).to_have_count(5)
        switch = page.get_by_role("button", name="Theme")
        ground = "getComputedStyle(document.body).backgroundColor"
        assert page.evaluate(ground) == "rgb(245, 246, 248)"
        switch.click()
        expect(switch).to_have_text("Theme: light")
        switch.click()
        expect(switch).to_have_text("Theme: dark")
        assert page.evaluate(ground) == "rgb(15, 20, 25)"
        expect(page.locator("#chart-em canvas")).to_be_visible()  # drawn anew
        page.reload()
        assert page.evaluate(ground) == "rgb(15, 20, 25)"
        switch.click()
        expect(switch).to_have_text("Theme: system")
        page.reload()
        assert page.evaluate(ground) == "rgb(245, 246, 248)"


def test_a_question_is_asked_and_its_answer_marked(chromium: Chromium, world: World) -> None:
    def answer(device: str, question: str, context: str) -> Answer:
        if "Café" in context:
            start = context.index("1862")
            span = Span(text="1862", start=start, end=start + 4, score=0.9)
        else:
            start = context.index("four")
            span = Span(text="four", start=start, end=start + 4, score=0.87)
        return Answer(status="ok", device=device, answers=[span], inference_ms=19.4,
                      model=ModelRef(**OLD))  # fmt: skip

    world.asker.answer = answer
    with looking(chromium, world, "otto") as visitor:
        page = visitor.see("/devices/pi5")
        with without_reload(page):
            question = page.get_by_role("textbox", name="Question")
            page.get_by_role("button", name="Fill in an example").click()
            expect(question).to_have_value(re.compile("Raspberry Pi 5"))
            page.get_by_role("button", name="Ask pi5").click()
            mark = page.locator("#answer mark")
            expect(mark).to_have_text("four")
            expect(page.locator("#answer")).to_contain_text("87.0\u202f%")
            expect(page.locator("#answer")).to_contain_text(OLD["version"])
            page.get_by_label("Text that holds the answer").fill("🙂🇩🇪 Cafe\u0301, Café: 1862.")
            question.fill("When?")
            question.press("Enter")
            expect(mark).to_have_text("1862")
            expect(page.locator("#answer .context")).to_have_text("🙂🇩🇪 Cafe\u0301, Café: 1862.")
            world.asker.answer = lambda *_: AnswerTimeoutError("pi5 does not answer")
            page.get_by_role("button", name="Ask pi5").click()
            expect(page.locator("#answer")).to_contain_text("pi5 does not answer")
            expect(page.locator("#answer code")).to_have_text("timeout")
            expect(page.get_by_role("button", name="Ask pi5")).to_be_enabled()
        visitor.check_accessible()


def test_tags_are_given_and_taken(chromium: Chromium, world: World) -> None:
    with looking(chromium, world, "otto") as visitor:
        page = visitor.see("/devices/pi5")
        with without_reload(page):
            box = page.get_by_label("New tag")
            box.fill("no tag!")
            box.press("Enter")
            expect(page.get_by_role("alert")).to_contain_text("is no tag")
            expect(box).to_have_attribute("aria-invalid", "true")
            box.fill("canary")
            page.get_by_role("button", name="Add tag").click()
            expect(page.locator("#tag-list")).to_contain_text("canary")
            expect(box).to_have_value("")
            expect(page.get_by_role("alert")).to_have_count(0)
            page.get_by_role("button", name="Remove tag canary").click()
            expect(page.locator("#tag-list")).to_have_text("No tags.")


def test_who_only_looks_has_nothing_to_press(chromium: Chromium, world: World) -> None:
    with looking(chromium, world, "vera") as visitor:
        page = visitor.see("/devices/pi5")
        expect(page.get_by_role("button")).to_have_text(["Theme: system", "Log out"])


def test_hostile_text_does_not_run(chromium: Chromium, world: World) -> None:
    with looking(chromium, world, "otto") as visitor:
        for path in ("/", "/devices?q=pi6", "/devices/pi6"):
            page = visitor.see(path)
            expect(page.locator("main")).to_contain_text("<img src=x")
            assert not visitor.ran()


def test_the_connection_goes_and_comes_back(chromium: Chromium, world: World) -> None:
    with looking(chromium, world, "vera") as visitor:
        visitor.allow("net::|htmx:")
        page = visitor.see("/devices?q=sim-0005")
        visitor.wait_live()
        with without_reload(page):
            visitor.context.set_offline(True)
            # An open stream may go on: what is asked next says it.
            page.get_by_label("Search or query").fill("sim-00055")
            expect(page.locator("#connection")).to_contain_text("no connection")
            world.change("sim-00055", f1=1.5)
            visitor.context.set_offline(False)
            page.get_by_label("Search or query").fill("sim-0005")
            visitor.wait_live()
            expect(page.locator("#row-sim-00055")).to_contain_text("1.5\u202f%")


def test_a_database_that_goes_away_and_comes_back(
    chromium: Chromium, sqlite_databases: Databases
) -> None:
    with live(sqlite_databases) as world, looking(chromium, world, "vera") as visitor:
        visitor.allow("503")
        page = visitor.see("/devices")
        expect(page.locator("#list")).to_contain_text("No devices yet")
        visitor.check_accessible()
        visitor.wait_live()
        with without_reload(page):
            world.fleet.device("first", last_seen_ms=now_ms())
            expect(rows(page)).to_have_count(1)  # the first device comes by itself
            rename(world, "devices", "devices_away")
            page.get_by_label("Search or query").fill("f")
            expect(page.locator("#connection")).to_have_text("database away")
            expect(rows(page)).to_have_count(1)  # what was seen stays
        visitor.see("/devices/first")
        expect(page.get_by_role("heading", level=1)).to_have_text("The database is away.")
        visitor.check_accessible()
        rename(world, "devices_away", "devices")
        page.get_by_role("link", name="Try again").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("first")


def rename(world: World, table: str, name: str) -> None:
    with world.database.writing() as connection:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO {name}"))


def test_pages_can_be_read_without_scripts(chromium: Chromium, world: World) -> None:
    with looking(chromium, world, "otto", scripts=False) as visitor:
        page = visitor.see("/devices")
        page.get_by_label("Search or query").fill("pi5")
        page.get_by_role("button", name="Search").click()
        rows(page).get_by_role("link").first.click()
        page.get_by_label("New tag").fill("plain")
        page.get_by_role("button", name="Add tag").click()
        expect(page.locator("#tag-list")).to_contain_text("plain")
        page.get_by_role("button", name="Remove tag plain").click()
        expect(page.locator("#tag-list")).not_to_contain_text("plain")
        expect(page.locator("noscript p").first).to_be_visible()
