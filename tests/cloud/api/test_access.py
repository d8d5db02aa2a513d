"""Who may do what: tokens, logins, roles, and browsers that are made to send what nobody meant."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import structlog
from sqlalchemy import select
from support.api_world import ApiWorld, api_world, trusted
from support.consoles import PASSWORD
from support.fleet_databases import Databases

from edgeqa_cloud.access import account_rows
from edgeqa_cloud.access.accounts import Accounts
from edgeqa_cloud.access.operator_token import ensure_operator_token
from edgeqa_cloud.access.roles import Kind, Role
from edgeqa_cloud.access.secrets_at_rest import Cost, hash_password, is_password
from edgeqa_cloud.access.tables import accounts, sessions
from edgeqa_cloud.access.throttle import FREE_FAILURES, MAX_KEYS, MAX_WAIT_S, Throttle
from edgeqa_cloud.rollout.tables import audit

COOKIE = "edgeqa-session"


def code(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json", response.text
    return str(response.json()["code"])


@contextmanager
def browser(world: ApiWorld, name: str = "otto") -> Iterator[httpx.Client]:
    with httpx.Client(base_url=world.api, timeout=30.0, verify=trusted()) as client:
        response = client.post("/session", json={"name": name, "password": PASSWORD})
        assert response.status_code == 200, response.text
        yield client


def bearer(world: ApiWorld, token: str, path: str = "/session") -> httpx.Response:
    return httpx.get(
        f"{world.api}{path}", headers={"Authorization": f"Bearer {token}"}, verify=trusted()
    )


def test_a_token_says_who_asks(world: ApiWorld) -> None:
    token = world.token("ci", Role.OPERATOR)
    said = bearer(world, token).json()
    assert said == {"name": "ci", "kind": "token", "role": "operator", "expires_ms": None}
    assert token.startswith("edgeqa_")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer edgeqa_" + "x" * 43},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic b3R0bzpwYXNz"},
        {"Authorization": "Bearer " + "x" * 5000},
        {"Cookie": f"{COOKIE}=forged"},
        {"Cookie": f"{COOKIE}={'x' * 43}"},
    ],
)
def test_nobody_that_is_known_is_refused(small_world: ApiWorld, headers: dict[str, str]) -> None:
    response = httpx.get(f"{small_world.api}/devices", headers=headers, verify=trusted())
    assert (response.status_code, code(response)) == (401, "unauthorized")
    assert response.headers["www-authenticate"].startswith('Bearer realm="edgeqa"')


def test_a_wrong_token_is_not_helped_by_a_cookie(small_world: ApiWorld) -> None:
    with browser(small_world) as client:
        response = client.get("/devices", headers={"Authorization": "Bearer nonsense"})
        assert response.status_code == 401


def test_tokens_expire_and_are_revoked(world: ApiWorld) -> None:
    ends = world.token("ends", Role.VIEWER, expires_ms=world.clock() + 1000)
    gone = world.token("gone", Role.VIEWER)
    assert bearer(world, ends).status_code == 200
    world.clock.now_ms += 1000
    assert code(bearer(world, ends)) == "unauthorized"
    with world.program(Role.ADMIN) as admin:
        revoked = admin.delete("/tokens/gone")
        assert revoked.json()["revoked_ms"] == world.clock()
        assert admin.delete("/tokens/gone").json() == revoked.json()
        assert code(admin.delete("/tokens/never")) == "unknown_account"
    assert code(bearer(world, gone)) == "unauthorized"


def test_a_viewer_writes_nothing(small_world: ApiWorld) -> None:
    small_world.fleet.device("pi5")
    tags = {"target": {"devices": ["pi5"]}, "add": ["hall"]}
    with small_world.program(Role.VIEWER) as viewer:
        for method, path, body in (
            ("POST", "/tags", tags),
            ("PUT", "/devices/pi5/tags", {"tags": ["hall"]}),
            ("POST", "/devices/pi5/ask", {"question": "Who?", "context": "Anna."}),
            ("POST", "/rollouts", {"package": {"name": "a", "version": "1.0.0"},
                                   "target": {"all": True}}),
            ("POST", "/tokens", {"name": "mine", "role": "admin"}),
            ("DELETE", "/users/ada", None),
        ):  # fmt: skip
            response = viewer.request(method, path, json=body)
            assert (response.status_code, code(response)) == (403, "forbidden"), path
    with small_world.program(Role.OPERATOR) as operator:
        assert operator.post("/tags", json=tags).status_code == 200
        assert code(operator.get("/tokens")) == "forbidden"


def test_people_and_tokens_are_made_by_admins_and_logged(world: ApiWorld) -> None:
    with world.program(Role.ADMIN) as admin:
        made = admin.post("/tokens", json={"name": "ci", "role": "operator", "expires_days": 1})
        assert made.status_code == 201
        token = made.json()["token"]
        assert "token" not in admin.get("/tokens").json()["accounts"][0]
        assert code(admin.post("/tokens", json={"name": "ci", "role": "viewer"})) == (
            "account_exists"
        )
        admin.post("/users", json={"name": "eve", "role": "viewer", "password": "long enough"})
        assert {one["name"] for one in admin.get("/users").json()["accounts"]} >= {"eve", "ada"}
        assert admin.delete("/users/eve").status_code == 204
    assert bearer(world, token).json()["role"] == "operator"
    with world.database.reading() as connection:
        log = connection.execute(select(audit).order_by(audit.c.id.desc()).limit(3)).all()
        kept = str(connection.execute(select(accounts)).all() + log)
    assert [one.action for one in log] == ["user_removed", "user_created", "token_created"]
    assert {one.actor for one in log} == {"token:a-admin"}
    assert token not in kept
    assert "long enough" not in kept


def test_a_login_gives_a_cookie_that_scripts_cannot_read(world: ApiWorld) -> None:
    with browser(world) as client:
        assert client.get("/session").json()["name"] == "otto"
        secret = client.cookies[COOKIE]
        with world.database.reading() as connection:
            assert secret not in str(connection.execute(select(sessions)).all())
        world.clock.now_ms += 12 * 3_600_000
        assert client.get("/session").status_code == 401


def test_the_cookie_is_for_https_alone_where_that_is_the_address(
    sqlite_databases: Databases,
) -> None:
    with (
        sqlite_databases.open(sqlite_databases.new()) as database,
        api_world(database, public_url="https://edgeqa.example") as world,
    ):
        response = httpx.post(f"{world.api}/session", json={"name": "otto", "password": PASSWORD})
        given = response.headers["set-cookie"]
        assert given.startswith("__Host-edgeqa-session=")
        for word in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"):
            assert word in given
        assert "max-age" in response.headers["strict-transport-security"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),  # no browser that keeps our cookie sends neither
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "OURS"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "OURS"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Host": "evil.example"}, 421),
    ],
)
def test_another_site_cannot_use_a_cookie(
    small_world: ApiWorld, headers: dict[str, str], status: int
) -> None:
    small_world.fleet.device("pi5")
    said = {name: small_world.url if text == "OURS" else text for name, text in headers.items()}
    with browser(small_world) as client:
        response = client.put("/devices/pi5/tags", json={"tags": ["hall"]}, headers=said)
        assert response.status_code == status, response.text
        tags = client.get("/devices/pi5").json()["tags"]
    assert tags == (["hall"] if status == 200 else [])


def test_who_logs_out_or_gets_another_password_is_out(world: ApiWorld) -> None:
    with browser(world, "otto") as one, browser(world, "otto") as other:
        assert one.delete("/session", headers={"Origin": world.url}).status_code == 204
        assert one.get("/session").status_code == 401
        assert other.get("/session").status_code == 200
        with world.program(Role.ADMIN) as admin:
            changed = admin.put("/users/otto/password", json={"password": "another one now"})
            assert changed.status_code == 204
        assert other.get("/session").status_code == 401


def test_nobody_learns_which_names_there_are(small_world: ApiWorld) -> None:
    answers = [
        httpx.post(f"{small_world.api}/session", json={"name": name, "password": "wrong one"})
        for name in ("otto", "nobody", "no name at all")
    ]
    assert {(one.status_code, one.text) for one in answers} == {
        (answers[0].status_code, answers[0].text)
    }
    assert code(answers[0]) == "bad_login"


def test_guessing_is_slowed_down_and_ends_nobody_else(sqlite_databases: Databases) -> None:
    with (
        sqlite_databases.open(sqlite_databases.new()) as database,
        api_world(database, public_url="http://edgeqa.example") as world,
    ):
        # Behind a proxy, which says where requests come from.
        def login(password: str, address: str) -> httpx.Response:
            return httpx.post(
                f"{world.api}/session", json={"name": "vera", "password": password},
                headers={"X-Forwarded-For": address},
            )  # fmt: skip

        for number in range(FREE_FAILURES):
            assert login("wrong one", f"10.0.0.{number}").status_code == 401
        refused = login(PASSWORD, "10.0.0.99")
        assert (refused.status_code, code(refused)) == (429, "too_many_tries")
        assert 1 <= int(refused.headers["retry-after"]) <= MAX_WAIT_S
        other = httpx.post(
            f"{world.api}/session", json={"name": "otto", "password": PASSWORD},
            headers={"X-Forwarded-For": "10.0.0.98"},
        )  # fmt: skip
        assert other.status_code == 200


def test_waits_grow_to_a_bound_and_are_forgotten() -> None:
    now = [0.0]
    throttle = Throttle(monotonic=lambda: now[0])
    for _ in range(FREE_FAILURES - 1):
        throttle.failed(["a"])
    assert throttle.wait_s(["a"]) == 0
    waits = []
    for _ in range(10):
        throttle.failed(["a"])
        waits.append(throttle.wait_s(["a", "b"]))
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (1.0, MAX_WAIT_S)
    now[0] = 1000.0
    assert throttle.wait_s(["a"]) == 0
    throttle.failed(f"{number}" for number in range(2 * MAX_KEYS))
    assert len(throttle._failures) == MAX_KEYS


def test_a_password_is_known_by_its_hash_alone() -> None:
    cheap = Cost(n=2, r=1, p=1)
    stored = hash_password("ä long\x00one", cost=cheap)
    assert is_password("ä long\x00one", stored)
    assert not is_password("ä long", stored)
    assert stored != hash_password("ä long\x00one", cost=cheap)
    for broken in ("", "scrypt$1$2$3", "scrypt$3,1,1$AAAA$AAAA", stored.replace("scrypt", "x")):
        assert not is_password("ä long\x00one", broken)


def test_last_use_is_written_beside_requests(world: ApiWorld) -> None:
    world.get("/session")
    with world.program(Role.ADMIN) as admin:
        before = {one["name"]: one for one in admin.get("/tokens").json()["accounts"]}
        world.console.accounts.tidy()
        after = {one["name"]: one for one in admin.get("/tokens").json()["accounts"]}
    assert before["a-viewer"]["last_used_ms"] is None
    assert after["a-viewer"]["last_used_ms"] == world.clock()


def test_the_operators_file_is_made_once_and_mended(
    sqlite_databases: Databases, tmp_path: Path
) -> None:
    path = tmp_path / "state" / "operator-token"
    with sqlite_databases.open(sqlite_databases.new()) as database:
        known = Accounts(database=database, now_ms=lambda: 5)

        def ensure() -> str:
            ensure_operator_token(
                path, database=database, accounts=known, now_ms=5, host="pi",
                log=structlog.get_logger(),
            )  # fmt: skip
            return path.read_text().strip()

        first = ensure()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert ensure() == first
        found = known.of_token(first)
        assert found is not None
        assert (found.name, found.role) == ("operator-pi", Role.OPERATOR)
        with database.writing() as connection:
            account_rows.revoke_token(connection, "operator-pi", actor="test", now_ms=5)
        second = ensure()
        assert second != first
        assert known.of_token(second) is not None
        with database.reading() as connection:
            names = [one.name for one in account_rows.list_accounts(connection, Kind.TOKEN)]
        assert names == ["operator-pi", "operator-pi-2"]
