"""Pages without a browser: who sees what, what hostile text becomes, and what is said when not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, text, update
from support.browser import serving
from support.consoles import PASSWORD, FakeAsker, browsing, make_console
from support.fleet import HOUR_MS, NEW, OLD, Fleet, paired
from support.fleet_databases import Databases
from support.rollout_rows import RolloutRows

from edgeqa.errors import AnswerError, AnswerTimeoutError
from edgeqa.messages import Answer, Fault, ModelRef, Span
from edgeqa_cloud.api.app import build_app
from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout.tables import device_tags
from edgeqa_cloud.tables import devices

NOW_MS = 1_799_964_600_000
PAGES = ("/", "/devices", "/devices/pi5")
EVIL = "\"><img src=x onerror=pwned()>'&"


@dataclass
class World:
    """A console that is served, its fleet and its database."""

    url: str
    database: Database
    fleet: Fleet
    asker: FakeAsker
    rows: RolloutRows


def evil(name: str) -> str:
    return f"{name}{EVIL}"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    name = "sqlite_databases" if request.param == "sqlite" else "postgres_databases"
    databases: Databases = request.getfixturevalue(name)
    with databases.open(databases.new()) as database, served(database) as made:
        fill(made)
        yield made


@contextmanager
def served(database: Database) -> Iterator[World]:
    """A console over a database."""
    asker = FakeAsker()
    console = make_console(database, now_ms=lambda: NOW_MS, asker=asker)
    with serving(build_app(console)) as url:
        fleet, rows = Fleet(database, NOW_MS), RolloutRows(database, NOW_MS)
        yield World(url, database, fleet, asker, rows)


@contextmanager
def other_world(databases: Databases, name: str | None) -> Iterator[tuple[World, httpx.Client]]:
    """One that a test has for itself, and a browser; nobody has logged in where no name is said."""
    with (
        databases.open(databases.new()) as database,
        served(database) as world,
        browsing(world.url, name) as client,
    ):
        yield world, client


def fill(world: World) -> None:
    """A fleet whose every text that is not an id is hostile."""
    fleet = world.fleet
    key = fleet.device(
        "pi5", groups=["site-1", evil("group")], agent_version=evil("agent"),
        onnxruntime_version=evil("onnx"), boot_id=evil("boot"), model_name=evil("model"),
        model_version=evil("version"), model_digest="sha256:" + evil("digest"),
        hardware={"board": evil("board"), "machine": evil("machine") + "\ud800"},
        reported={"state": "failed", "reason": {"code": evil("code"), "message": "no"}},
        presence="offline", presence_reason=evil("reason"), throttled=[evil("flag")],
    )  # fmt: skip
    fleet.evaluation(key, age_ms=1, trigger=evil("t")[:16],
                     paired=paired(-1.0, -3.0, 1.0) | {"previous": {
                         "name": evil("previous"), "version": evil("older"), "digest": None}},
                     model={**OLD, "name": evil("evaluated"), "version": evil("one")})  # fmt: skip
    fleet.swap(key, age_ms=2, state=evil("s")[:16], code=evil("swapcode"), name=evil("swapped"),
               message=evil("message"), rollout=evil("rollout"), version=evil("to"))  # fmt: skip
    fleet.gap(key, 3, 9)
    fleet.device("pi6")
    with world.database.writing() as connection:
        connection.execute(insert(device_tags).values(device_id=key, tag=evil("tag")))
    member = fleet.device("pi7")
    world.rows.rollout([(member, 0, "wished"), (key, 0, "waiting")], reason=evil("why"),
                       spec={"note": evil("note")})  # fmt: skip
    world.rows.entry("gate_breached", evil("decided"), rollout=None, actor=evil("actor"))
    fleet.many(120)


@dataclass
class Read(HTMLParser):
    """What a page is made of."""

    text: str
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.said.append(data)

    def __hash__(self) -> int:
        return id(self)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        return [
            found for name, found in self.tags
            if name == tag and all(found.get(one) == value for one, value in attributes.items())
        ]  # fmt: skip

    @property
    def plain(self) -> str:
        return " ".join(" ".join(self.said).split())


def rows_of(response: httpx.Response) -> list[str]:
    """Ids of the devices of a list."""
    return re.findall(r'<tr id="row-([^"]+)"', response.text)


@pytest.fixture(scope="module")
def viewer(world: World) -> Iterator[httpx.Client]:
    with browsing(world.url, "vera") as client:
        yield client


@pytest.fixture(scope="module")
def operator(world: World) -> Iterator[httpx.Client]:
    with browsing(world.url, "otto") as client:
        yield client


@pytest.fixture
def nobody(world: World) -> Iterator[httpx.Client]:
    with browsing(world.url) as client:
        yield client


# ---- Logging in


@pytest.mark.parametrize("path", [*PAGES, "/devices?q=f1%3C70&page=2"])
def test_without_a_login_a_page_leads_to_it_and_back(nobody: httpx.Client, path: str) -> None:
    first = nobody.get(path)
    assert (first.status_code, first.text) == (303, "")
    form = nobody.get(first.headers["location"])
    (hidden,) = Read(form.text).all("input", name="next")
    assert hidden["value"] == path
    done = nobody.post(
        "/login", data={"name": "vera", "password": PASSWORD, "next": hidden["value"]}
    )
    assert (done.status_code, done.headers["location"]) == (303, path)
    assert nobody.get(path).status_code == 200
    # Who has logged in is led on at once.
    assert nobody.get(first.headers["location"]).headers["location"] == path


def test_a_part_that_is_refreshed_leads_the_whole_page_to_the_login(nobody: httpx.Client) -> None:
    here = f"{nobody.base_url}/devices?page=2"
    response = nobody.get("/devices", headers={"HX-Request": "true", "HX-Current-URL": here})
    assert response.status_code == 204
    assert response.headers["hx-redirect"] == "/login?next=%2Fdevices%3Fpage%3D2"


def test_a_link_on_another_site_finds_the_session(nobody: httpx.Client) -> None:
    """Browsers send a strict cookie only where a page of ours leads."""
    response = nobody.get("/devices?page=2", headers={"Sec-Fetch-Site": "cross-site"})
    assert response.status_code == 200
    (refresh,) = Read(response.text).all("meta", **{"http-equiv": "refresh"})
    assert refresh["content"] == "0; url=/devices?page=2"


def test_the_cookie_is_for_the_server_alone(nobody: httpx.Client) -> None:
    done = nobody.post("/login", data={"name": "vera", "password": PASSWORD})
    cookie = done.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/" in cookie
    assert "max-age=43200" in cookie
    assert "secure" not in cookie  # by http, to this machine


@pytest.mark.parametrize(
    "after", ["https://evil.example", "//evil.example", "/\\evil.example", "/login", "javascript:x"]
)
def test_a_login_never_leads_to_another_site(nobody: httpx.Client, after: str) -> None:
    (hidden,) = Read(nobody.get("/login", params={"next": after}).text).all("input", name="next")
    assert hidden["value"] == "/"
    done = nobody.post("/login", data={"name": "vera", "password": PASSWORD, "next": after})
    assert done.headers["location"] == "/"
    assert nobody.get("/login", params={"next": after}).headers["location"] == "/"


def test_a_wrong_password_is_told_and_not_repeated(nobody: httpx.Client) -> None:
    wrong = nobody.post(
        "/login", data={"name": f"vera{EVIL}"[:60], "password": "hunter2<b>", "next": "/devices"}
    )
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers
    page = Read(wrong.text)
    assert "The name or the password is wrong." in page.plain
    assert "bad_login" in page.plain
    assert "hunter2" not in wrong.text
    (name,) = page.all("input", name="name")
    assert name["value"] == f"vera{EVIL}"[:60]
    assert page.all("input", name="next")[0]["value"] == "/devices"
    assert not page.all("img", src="x")


@pytest.mark.parametrize("data", [{}, {"name": "vera"}, {"password": PASSWORD}])
def test_a_login_with_half_of_it_is_wrong(nobody: httpx.Client, data: dict[str, str]) -> None:
    assert nobody.post("/login", data=data).status_code == 401


def test_who_guesses_has_to_wait(sqlite_databases: Databases) -> None:
    with other_world(sqlite_databases, None) as (_, client):
        for _ in range(6):
            last = client.post("/login", data={"name": "nobody", "password": "x"})
        assert last.status_code == 429
        assert int(last.headers["retry-after"]) >= 1
        assert "too_many_tries" in last.text
        assert "try again in" in last.text


def test_a_session_that_ended_is_told(nobody: httpx.Client) -> None:
    nobody.cookies.set("edgeqa-session", "ended")
    response = nobody.get("/devices")
    assert response.headers["location"] == "/login?next=%2Fdevices"
    assert "Your session has ended." in nobody.get(response.headers["location"]).text
    nobody.cookies.clear()
    assert "Your session has ended." not in nobody.get("/login").text


def test_logging_out_ends_the_session(world: World) -> None:
    with browsing(world.url, "vera") as client:
        secret = client.cookies["edgeqa-session"]
        out = client.post("/logout")
        assert (out.status_code, out.headers["location"]) == (303, "/login")
        assert "edgeqa-session" not in client.cookies
        client.cookies.set("edgeqa-session", secret)
        assert client.get("/devices").status_code == 303
        assert client.post("/logout").status_code == 303  # again is no error


@pytest.mark.parametrize("path", ["/login", "/logout", "/devices/pi6/tags", "/devices/pi6/ask"])
@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"},
     {"Sec-Fetch-Site": "same-site"}],
)  # fmt: skip
def test_another_sites_page_changes_nothing(
    world: World, path: str, headers: dict[str, str]
) -> None:
    with browsing(world.url, "otto") as client:
        data = {"name": "otto", "password": PASSWORD, "add": "x", "question": "q", "context": "c"}
        response = client.post(path, data=data, headers=headers)
        assert response.status_code == 403
        assert "cross_site" in response.text
        assert "set-cookie" not in response.headers
        assert client.get("/devices").status_code == 200
    assert world.asker.asked == []


# ---- Roles


@pytest.mark.parametrize("path", PAGES)
def test_who_only_looks_sees_nothing_that_writes(viewer: httpx.Client, path: str) -> None:
    page = Read(viewer.get(path).text)
    assert [form["action"] for form in page.all("form", method="post")] == ["/logout"]
    assert not [one for _, one in page.tags if any(name.startswith("hx-post") for name in one)]


@pytest.mark.parametrize("path", ["/devices/pi6/tags", "/devices/pi6/ask"])
def test_who_only_looks_changes_nothing(world: World, viewer: httpx.Client, path: str) -> None:
    response = viewer.post(path, data={"add": "x", "question": "q", "context": "c"})
    assert response.status_code == 403
    page = Read(response.text)
    assert "You may not do this." in page.plain
    assert "user:vera is a viewer" in page.plain
    assert page.all("a", href="/devices")  # the navigation stays
    assert world.asker.asked == []
    assert "tag=x" not in viewer.get("/devices/pi6").text


# ---- Hostile text, and headers


FIELDS = {
    "/": ("why", "decided", "actor", "model", "version", "digest"),
    "/devices": ("tag", "model", "version", "reason", "flag", "group"),
    "/devices/pi5": (
        "group", "agent", "onnx", "boot", "model", "version", "digest", "board", "machine", "code",
        "reason", "flag", "previous", "older", "evaluated", "one", "swapcode", "swapped", "message",
        "rollout", "to", "tag",
    ),
}  # fmt: skip


@pytest.mark.parametrize("path", FIELDS)
@pytest.mark.parametrize("who", ["viewer", "operator"])
def test_hostile_text_is_text(request: pytest.FixtureRequest, path: str, who: str) -> None:
    client: httpx.Client = request.getfixturevalue(who)
    response = client.get(path)
    assert response.status_code == 200
    page = Read(response.text)
    assert not page.all("img", src="x")
    # Ours are all that there are, and nothing says what to run.
    assert all(one["src"].startswith("/static/") for one in page.all("script"))
    assert not page.all("style")
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert "style" not in attributes, (tag, attributes)
        href = attributes.get("href", "/")
        assert href.startswith(("/", "#")), href
    seen = page.plain + " ".join(
        value for _, attributes in page.tags for value in attributes.values()
    )
    for name in FIELDS[path]:
        if name == "digest":
            assert '<code title="sha256:digest&#34;&gt;' in response.text
        else:
            assert f'{name}">' in seen, name


def test_what_is_not_seen_is_shown(world: World, operator: httpx.Client) -> None:
    """Characters that turn the line, or that are half of one."""
    with world.database.writing() as connection:
        connection.execute(
            update(devices).where(devices.c.device == "pi6").values(agent_version="1\u202e2\u200b3")
        )
    text_of = operator.get("/devices/pi6").text
    assert "1\ufffd2\ufffd3" in text_of


@pytest.mark.parametrize("path", ["/login", *PAGES, "/devices/nope", "/nowhere-at-all/x"])
def test_headers_of_a_page(operator: httpx.Client, nobody: httpx.Client, path: str) -> None:
    response = (nobody if path == "/login" else operator).get(path)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["content-encoding"] == "gzip"


def test_files_of_a_page_may_be_kept_for_ever(nobody: httpx.Client) -> None:
    page = Read(nobody.get("/login").text)
    names = [one["src"] for one in page.all("script")]
    names += [one["href"] for one in page.all("link")]
    assert len(names) >= 8
    for name in names:
        response = nobody.get(name)
        assert response.status_code == 200, name
        assert "immutable" in response.headers["cache-control"]
        assert response.headers["content-encoding"] == "gzip"
        again = nobody.get(name, headers={"If-None-Match": response.headers["etag"]})
        assert again.status_code == 304
    assert nobody.get("/static/x/nothing.js").status_code == 404
    assert nobody.get("/static/x/../../rendering.py").status_code == 404
    assert nobody.get("/static/x/%2e%2e/rendering.py").status_code == 404


# ---- What cannot be shown


@pytest.mark.parametrize(
    "device", ["nope", "a b", "%00", "<b>", "..%2f", "x" * 300, "%F0%9F%99%82", "pi5%0a"]
)
def test_a_device_that_nobody_knows(operator: httpx.Client, device: str) -> None:
    for response in (
        operator.get(f"/devices/{device}"),
        operator.post(f"/devices/{device}/tags", data={"add": "x"}),
    ):
        assert response.status_code == 404
        assert "text/html" in response.headers["content-type"]
    assert "There is no such" in operator.get(f"/devices/{device}").text


def test_a_page_that_is_none(operator: httpx.Client, nobody: httpx.Client) -> None:
    for client in (operator, nobody):
        response = client.get("/no/such/page")
        assert response.status_code == 404
        assert "There is no such page." in response.text
    # Programs are told as programs are.
    assert operator.get("/api/v1/nothing").headers["content-type"] == "application/problem+json"
    assert operator.put("/devices").status_code == 405


def test_a_database_that_is_away(sqlite_databases: Databases) -> None:
    with other_world(sqlite_databases, "otto") as (world, client):
        database = world.database
        world.fleet.device("pi5")
        with database.writing() as connection:
            connection.execute(text("ALTER TABLE devices RENAME TO devices_away"))
        for path in ("/", "/devices?q=pi", "/devices/pi5"):
            response = client.get(path)
            assert response.status_code == 503
            assert response.headers["retry-after"] == "5"
            page = Read(response.text)
            assert "The database is away." in page.plain
            assert "database_unreachable" in page.plain
            assert page.all("a", href=path)  # try again
            assert "SELECT" not in response.text
            assert "no such table" not in response.text
        with database.writing() as connection:
            connection.execute(text("ALTER TABLE devices_away RENAME TO devices"))
            connection.execute(text("ALTER TABLE sessions RENAME TO sessions_away"))
        # Not even who asks can be found.
        assert client.get("/devices").status_code == 503
        assert client.get("/login").status_code == 503
        with database.writing() as connection:
            connection.execute(text("ALTER TABLE sessions_away RENAME TO sessions"))
        assert client.get("/devices/pi5").status_code == 200


def test_a_fleet_without_devices(sqlite_databases: Databases) -> None:
    with other_world(sqlite_databases, "vera") as (_, client):
        for path in ("/", "/devices"):
            page = Read(client.get(path).text)
            assert "No devices yet" in page.plain
            assert "edgeqa agent run --broker" in page.plain
        assert "No device matches." in client.get("/devices?presence=online").text


def test_a_device_of_which_hardly_anything_is_known(world: World, operator: httpx.Client) -> None:
    with world.database.writing() as connection:
        connection.execute(
            insert(devices).values(device="bare", first_seen_ms=1, last_seen_ms=NOW_MS)
        )
    page = operator.get("/devices/bare")
    assert page.status_code == 200
    assert "not evaluated yet" in page.text
    assert "None heard of yet." in page.text
    assert operator.get("/devices?q=device%3Dbare").status_code == 200


# ---- The list


def test_a_page_of_the_list(operator: httpx.Client) -> None:
    response = operator.get("/devices?q=sim-&sort=-f1")
    page = Read(response.text)
    assert len(rows_of(response)) == 50
    assert "1 to 50 of 120 devices" in page.plain
    (sorted_by,) = [one for one in page.all("th") if "aria-sort" in one]
    assert sorted_by["aria-sort"] == "descending"
    assert page.all("a", href="/devices?q=sim-&sort=-f1&page=2", rel="next")
    assert page.all("a", href="/devices?q=sim-&sort=f1")  # the other way around
    last = operator.get("/devices?q=sim-&sort=-f1&page=3")
    assert len(rows_of(last)) == 20
    assert not Read(last.text).all("a", rel="next")
    assert Read(last.text).all("a", href="/devices?q=sim-&sort=-f1&page=2", rel="prev")
    beyond = operator.get("/devices?q=sim-&page=99")
    assert "The list ends before this page." in beyond.text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=pi6", ["pi6"]),
        ("q=device%3Dpi6+or+device%3Dpi7", ["pi6", "pi7"]),
        ("q=PI+presence%3Donline", ["pi6", "pi7"]),
        ("presence=offline", ["pi5"]),
        ("group=site-1&q=pi", ["pi5", "pi6", "pi7"]),
        ("model=minilm-l6-squad%400.1.1&q=pi", ["pi6", "pi7"]),
        ("q=pi&sort=-device", ["pi7", "pi6", "pi5"]),
        ("q=%3Cscript%3E", None),
        ("tag=nobody-has-it", []),
        ("q=%25", []),
        ("q=%22%5C%22%3E%3Cimg%22", ["pi5"]),
    ],
)
def test_devices_are_found(operator: httpx.Client, query: str, found: list[str] | None) -> None:
    response = operator.get(f"/devices?{query}")
    assert response.status_code == 200
    if found is None:
        assert "This is no query." in response.text
        assert "bad_query" in response.text
        return
    assert rows_of(response) == found
    if not found:
        assert "No device matches." in response.text


def test_a_query_that_is_wrong_stays_in_its_field(operator: httpx.Client) -> None:
    page = Read(operator.get("/devices", params={"q": f"f1< {EVIL}"}).text)
    (box,) = page.all("input", name="q")
    assert box["value"] == f"f1< {EVIL}"
    assert not page.all("img", src="x")


def test_a_search_leaves_its_address_and_a_refresh_none(operator: httpx.Client) -> None:
    asked = {"HX-Request": "true"}
    search = "/devices?q=pi&presence=&model=&group=&tag=&sort=device"
    assert operator.get(search, headers=asked).headers["hx-replace-url"] == "/devices?q=pi"
    for more in ({"EdgeQA-Refresh": "true"}, {"HX-Boosted": "true"}):
        assert "hx-replace-url" not in operator.get(search, headers=asked | more).headers
    assert "hx-replace-url" not in operator.get(search).headers


# ---- Tags and questions


def test_tags_are_given_and_taken(operator: httpx.Client) -> None:
    given = operator.post("/devices/pi6/tags", data={"add": "canary, north"})
    assert (given.status_code, given.headers["location"]) == (303, "/devices/pi6")
    assert rows_of(operator.get("/devices?tag=canary")) == ["pi6"]
    taken = operator.post(
        "/devices/pi6/tags", data={"remove": "canary"}, headers={"HX-Request": "true"}
    )
    assert taken.status_code == 200
    assert Read(taken.text).all("a", href="/devices?tag=north")
    assert not Read(taken.text).all("a", href="/devices?tag=canary")
    operator.post("/devices/pi6/tags", data={"remove": "north"})
    assert "tags of pi6: -north" in operator.get("/").text  # by the audit log


@pytest.mark.parametrize("tag", [EVIL, "a/b", "-", "ü", "x" * 65])
def test_a_tag_that_is_none_is_told(operator: httpx.Client, tag: str) -> None:
    page = Read(operator.post("/devices/pi6/tags", data={"add": tag}).text)
    assert "is no tag" in page.plain
    (box,) = page.all("input", name="add")
    assert box["aria-invalid"] == "true"
    assert not page.all("img", src="x")


def test_an_answer_is_marked_where_it_stands(world: World, operator: httpx.Client) -> None:
    context = "🙂 Cafe\u0301 <b>du Monde</b>\r\nopened in 1862, in 1862."
    stored = context.replace("\r\n", "\n")

    def answer(device: str, question: str, text: str) -> Answer:
        assert (device, question, text) == ("pi6", "When?", stored)
        start = text.rindex("1862")
        return Answer(
            status="ok", device=device, inference_ms=19.4, model=ModelRef(**OLD),
            answers=[Span(text="1862", start=start, end=start + 4, score=0.873)],
        )  # fmt: skip

    world.asker.answer = answer
    response = operator.post("/devices/pi6/ask", data={"question": " When? ", "context": context})
    assert response.status_code == 200
    assert "\nopened in 1862, in <mark>1862</mark>." in response.text
    assert "Cafe\u0301 &lt;b&gt;du Monde" in response.text
    plain = Read(response.text).plain
    assert "87.3\u202f%" in plain
    assert "19.4\u202fms" in plain
    assert OLD["version"] in plain
    world.asker.asked.clear()


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (AnswerTimeoutError("pi6 is offline", code="timeout"), "timeout", "pi6 is offline"),
        (AnswerError(f"full {EVIL}", code="busy"), "busy", "There is no answer."),
        (Answer(status="error", device="pi6", error=Fault(code=EVIL, message=EVIL)), 'img src',
         "The device refused."),
        (Answer(status="ok", device=EVIL, answers=[]), "", "There is no answer in this text."),
        (Answer(status="ok", device="pi6", answers=[Span(text=EVIL, start=0, end=3, score=1)]), "",
         "is not what stands at its place"),
    ],
)  # fmt: skip
def test_what_a_device_says_instead_of_an_answer(
    world: World, operator: httpx.Client, answer: Any, code: str, words: str
) -> None:
    world.asker.answer = lambda *_: answer
    response = operator.post("/devices/pi6/ask", data={"question": "q", "context": "a text"})
    assert response.status_code == 200
    page = Read(response.text)
    assert code in page.plain
    assert words in page.plain
    assert not page.all("img", src="x")
    assert not page.all("mark")
    assert page.all("input", name="question")[0]["value"] == "q"
    world.asker.asked.clear()


def test_a_question_that_is_too_long_is_not_asked(world: World, operator: httpx.Client) -> None:
    response = operator.post("/devices/pi6/ask", data={"question": "q" * 2001, "context": "a text"})
    assert "payload_too_large" in response.text
    assert world.asker.asked == []


def test_the_overview_leads_on(world: World, viewer: httpx.Client) -> None:
    page = Read(viewer.get("/?range=7d").text)
    for href in ("/devices?presence=online", "/devices?presence=silent&sort=seen", "/audit",
                 "/rollouts", "/?range=30d#charts"):  # fmt: skip
        assert page.all("a", href=href), href
    assert "stage 1 of 2" in page.plain
    (chosen,) = [one for one in page.all("a") if one.get("aria-current") == "true"]
    assert chosen["href"] == "/?range=7d#charts"
    assert world.rows.now_ms == NOW_MS


def test_rollouts_of_a_device_are_on_its_page(viewer: httpx.Client) -> None:
    assert Read(viewer.get("/devices/pi7").text).all("a", href="/rollouts/r-20261125-000001")
    assert NEW["name"] in viewer.get("/devices/pi7").text
    assert viewer.get(f"/devices/pi5?range=30d&x={HOUR_MS}").status_code == 200
