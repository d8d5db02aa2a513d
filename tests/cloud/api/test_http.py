"""What holds for every request: ETags, pages, bounds, headers, errors that say what is wrong."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute
from support.api_world import ApiWorld, api_world, trusted
from support.fleet_databases import Databases

from edgeqa.errors import AnswerError
from edgeqa.messages import Answer, Span
from edgeqa_cloud.access.roles import Role
from edgeqa_cloud.api.middleware import MAX_BODY_BYTES

EVIL = '"><script>alert(1)</script>\x1b[31m\u202e'


def problem(response: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, object] = response.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, "about:blank")
    assert len(str(body["detail"])) > 10
    return body


def test_who_has_it_already_is_told_so(world: ApiWorld) -> None:
    world.fleet.device("pi5")
    with world.program() as client:
        for path in ("/devices", "/devices/pi5", "/fleet", "/audit", "/evaluations", "/rollouts"):
            first = client.get(path)
            tag = first.headers["etag"]
            world.clock.now_ms += 10  # the time of the answer is no news
            again = client.get(path, headers={"If-None-Match": f'"other", {tag}'})
            assert (again.status_code, again.content) == (304, b""), path
            assert again.headers["etag"] == tag
        tag = client.get("/devices").headers["etag"]
        world.fleet.device("pi6")
        changed = client.get("/devices", headers={"If-None-Match": tag})
        assert changed.status_code == 200
        assert changed.headers["etag"] != tag


def test_a_change_is_refused_where_another_came_first(small_world: ApiWorld) -> None:
    small_world.fleet.device("pi5")
    with small_world.program(Role.OPERATOR) as client:
        seen = client.get("/devices/pi5/tags").headers["etag"]
        assert client.put("/devices/pi5/tags", json={"tags": ["a"]}).status_code == 200
        late = client.put("/devices/pi5/tags", json={"tags": ["b"]}, headers={"If-Match": seen})
        problem(late, 412, "changed_meanwhile")
        assert client.get("/devices/pi5").json()["tags"] == ["a"]


def test_a_list_is_leafed_through_by_its_links(world: ApiWorld) -> None:
    world.fleet.many(25)
    seen: list[str] = []
    with world.program() as client:
        path = "/devices?limit=10&sort=em&descending=true&group=site-1"
        whole = client.get("/devices?limit=1000&sort=em&descending=true&group=site-1").json()
        path = f"{path}".replace("limit=10", "limit=2")
        while path:
            response = client.get(path)
            seen += [one["device"] for one in response.json()["devices"]]
            path = response.links.get("next", {}).get("url", "").removeprefix("/api/v1")
    assert seen == [one["device"] for one in whole["devices"]]
    assert len(seen) == 3


def test_evaluations_are_leafed_through_while_more_come(world: ApiWorld) -> None:
    key = world.fleet.device("pi5")
    for age in range(7):
        world.fleet.evaluation(key, age_ms=age // 2 * 1000)  # some of one moment
    seen = []
    with world.program() as client:
        cursor: str | None = ""
        while cursor is not None:
            page = client.get(
                "/devices/pi5/evaluations", params={"limit": 2, "cursor": cursor}
            ).json()
            seen += [one["time_ms"] for one in page["evaluations"]]
            cursor = page["next"]
            world.fleet.evaluation(key, age_ms=-1000)
        problem(client.get("/evaluations?cursor=nonsense"), 422, "bad_cursor")
        every = client.get("/evaluations?device=pi5&limit=100").json()["evaluations"]
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 7
    assert every[0]["device"] == "pi5"


def test_records_come_as_they_were_sent(world: ApiWorld) -> None:
    key = world.fleet.device("pi5")
    sent = [world.fleet.telemetry(key, age_ms=age * 60_000) for age in range(3)]
    with world.program() as client:
        page = client.get("/devices/pi5/telemetry?limit=2").json()
        rest = client.get("/devices/pi5/telemetry", params={"cursor": page["next"]}).json()
        serving = client.get("/devices/pi5/serving?since=6h").json()
    found = page["records"] + rest["records"]
    assert [one["record"]["seq"] for one in found] == [one.seq for one in sent]
    assert serving["total"]["answered"] == sum(one.outcomes["answered"] for one in sent)
    assert rest["next"] is None


def test_what_is_wrong_is_said(small_world: ApiWorld) -> None:
    with small_world.program(Role.OPERATOR) as client:
        problem(client.get("/nothing"), 404, "not_found")
        problem(client.get("/devices/nobody"), 404, "unknown_device")
        problem(client.get("/devices/nobody/history"), 404, "unknown_device")
        wrong = client.patch("/devices")
        problem(wrong, 405, "method_not_allowed")
        assert "GET" in wrong.headers["allow"]
        body = problem(client.get("/devices?limit=0&sort=age"), 422, "invalid_request")
        errors = body["errors"]
        assert isinstance(errors, list)
        assert [one["where"] for one in errors] == [["query", "sort"], ["query", "limit"]]
        problem(client.get("/devices", params={"query": "model="}), 422, "bad_query")
        json_headers = {"Content-Type": "application/json"}
        problem(client.post("/tags", content=b"{", headers=json_headers), 422, "invalid_request")
        problem(
            client.post("/tags", content=b"a=1", headers={"Content-Type": "text/plain"}),
            415, "unsupported_media_type",
        )  # fmt: skip
        problem(client.post("/rollouts", json={"surprise": 1}), 422, "invalid_request")


def test_large_bodies_are_refused(small_world: ApiWorld) -> None:
    def much() -> Iterator[bytes]:
        for _ in range(MAX_BODY_BYTES // (1 << 20) + 1):
            yield b" " * (1 << 20)

    with small_world.program(Role.OPERATOR) as client:
        headers = {"Content-Type": "application/json"}
        said = http.client.HTTPConnection(client.base_url.netloc.decode(), timeout=30)
        with contextlib.closing(said):
            said.putrequest("POST", "/api/v1/tags")
            said.putheader("Content-Length", str(MAX_BODY_BYTES + 1))
            said.endheaders()
            assert said.getresponse().status == 413
        problem(client.post("/tags", content=much(), headers=headers), 413, "too_large")
        assert client.get("/session").status_code == 200


HOSTILE = (EVIL, "\x00", "'; DROP TABLE devices; --", "%", "😀" * 60, "a\\b_")


def test_hostile_strings_find_nothing_and_break_nothing(world: ApiWorld) -> None:
    world.fleet.device("pi5", hardware={"board": EVIL, "machine": "aarch64"})
    with world.program() as client:
        for path in ("/devices", "/evaluations", "/audit", "/rollouts"):
            for text in HOSTILE:
                # All at once: of those that a path does not know, it takes no notice.
                names = ("text", "model", "group", "tag", "device", "actor", "action", "rollout")
                for said in ({name: text} for name in names[:2]):
                    assert client.get(path, params=said).status_code in {200, 422}
                response = client.get(path, params=dict.fromkeys(names, text))
                assert response.status_code in {200, 422}, response.text
                assert response.headers["content-type"].endswith("json")
        for text in HOSTILE:
            assert client.get("/devices", params={"query": text}).status_code in {200, 422}
        assert client.get("/devices/pi5").json()["board"] == EVIL


def test_every_answer_keeps_browsers_from_mischief(small_world: ApiWorld) -> None:
    for path in ("/api/v1/devices", "/api/v1/nothing", "/", "/login", "/api/v1/docs"):
        headers = httpx.get(f"{small_world.url}{path}", verify=trusted()).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "server" not in headers


def test_what_goes_wrong_unexpectedly_is_told_without_details(
    sqlite_databases: Databases,
) -> None:
    def fail() -> None:
        raise RuntimeError("secret detail")

    def add(app: FastAPI) -> None:
        app.router.routes.insert(0, APIRoute("/api/v1/fail", fail))

    with (
        sqlite_databases.open(sqlite_databases.new()) as database,
        api_world(database, before=add) as world,
    ):
        response = httpx.get(f"{world.api}/fail")
        problem(response, 500, "internal_error")
        assert "secret" not in response.text
        assert world.get("/session").status_code == 200


def test_a_device_is_asked_and_its_answer_marked(small_world: ApiWorld) -> None:
    small_world.fleet.device("pi5")
    context = "😀 Anna lives in Kraków."

    def answer(device: str, question: str, text: str) -> Answer | AnswerError:
        if question == "no?":
            return AnswerError("nobody listens", code="no_agent")
        start = text.index("Kraków")
        span = Span(text="Kraków", start=start, end=start + 6, score=0.9)
        return Answer(id="a", status="ok", device=device, answers=[span])

    small_world.asker.answer = answer
    body = {"question": "Where?", "context": context}
    with small_world.program(Role.OPERATOR) as client:
        span = client.post("/devices/pi5/ask", json=body).json()["answers"][0]
        assert context[span["start"] : span["end"]] == "Kraków"
        problem(client.post("/devices/pi6/ask", json=body), 404, "unknown_device")
        problem(client.post("/devices/pi5/ask", json={**body, "question": "no?"}), 503, "no_agent")
        problem(
            client.post("/devices/pi5/ask", json={**body, "question": "x" * 2001}),
            422, "invalid_request",
        )  # fmt: skip
