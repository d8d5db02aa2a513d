"""Pages without a browser: who sees what, what hostile text becomes, and what is said when not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, text, update
from support.consoles import browsing
from support.fleet import HOUR_MS, NEW, OLD, paired
from support.fleet_databases import Databases
from support.pages import EVIL, NOW_MS, Read, World, other_world, served

from edgeqa.errors import AnswerError, AnswerTimeoutError
from edgeqa.messages import Answer, Fault, ModelRef, Span
from edgeqa_cloud.rollout.tables import device_tags
from edgeqa_cloud.tables import devices

PAGES = ("/", "/devices", "/devices/pi5")


def evil(name: str) -> str:
    return f"{name}{EVIL}"


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]
)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    name = "sqlite_databases" if request.param == "sqlite" else "postgres_databases"
    databases: Databases = request.getfixturevalue(name)
    with databases.open(databases.new()) as database, served(database) as made:
        fill(made)
        yield made


def fill(world: World) -> None:
    """A fleet whose every text that is not an id is hostile."""
    fleet = world.fleet
    key = fleet.device(
        "pi5", groups=["site-1", evil("group")], agent_version=evil("agent"),
        onnxruntime_version=evil("onnx"), boot_id=evil("boot"), model_name=evil("model"),
        model_version=evil("version"), model_digest="sha256:" + evil("digest"),
        hardware={"board": evil("board"), "machine": evil("machine")},
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
def test_hostile_text_is_text(
    request: pytest.FixtureRequest, world: World, path: str, who: str
) -> None:
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
    "device", ["nope", "a b", "%00", "<b>", "x" * 300, "%F0%9F%99%82", "pi5%0a"]
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
    assert "87.3 %" in plain
    assert "19.4 ms" in plain
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
