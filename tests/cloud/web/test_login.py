"""Logging in and out, without a browser: who comes in, and where they come to."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from support.consoles import PASSWORD, browsing
from support.fleet_databases import Databases
from support.pages import EVIL, Read, World, other_world, served

PAGES = ("/", "/devices", "/devices/pi5")


@pytest.fixture(scope="module")
def world(sqlite_databases: Databases) -> Iterator[World]:
    with sqlite_databases.open(sqlite_databases.new()) as database, served(database) as made:
        made.fleet.device("pi5")
        yield made


@pytest.fixture
def nobody(world: World) -> Iterator[httpx.Client]:
    with browsing(world.url) as client:
        yield client


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


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"},
     {"Sec-Fetch-Site": "same-site"}],
)  # fmt: skip
def test_another_sites_page_changes_nothing(world: World, headers: dict[str, str]) -> None:
    data = {"name": "otto", "password": PASSWORD, "add": "x", "question": "q", "context": "c"}
    with browsing(world.url, "otto") as client:
        for path in ("/login", "/logout", "/devices/pi5/tags", "/devices/pi5/ask"):
            response = client.post(path, data=data, headers=headers)
            assert response.status_code == 403, path
            assert "cross_site" in response.text
            assert "set-cookie" not in response.headers
        assert "x" not in Read(client.get("/devices?tag=x").text).plain.split()
        assert client.get("/devices").status_code == 200
    assert world.asker.asked == []
