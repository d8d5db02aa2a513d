"""The API is as it is described: schemathesis calls every operation, as each role."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support.api_world import ApiWorld, api_world
from support.fleet_databases import Databases

from edgeqa.messages import Answer
from edgeqa_cloud.access.roles import Role
from edgeqa_cloud.api.openapi import description

PAGE = Path(__file__).parents[3] / "docs" / "openapi.json"
# Without an end, or ending what the next call needs.
_SKIPPED = {("GET", "/api/v1/events")}
_CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_headers_conformance, response_schema_conformance,
]  # fmt: skip
DESCRIPTION = description()
SCHEMA = schemathesis.openapi.from_dict(DESCRIPTION)
OPERATIONS = sorted(
    (method.upper(), path)
    for path, operations in DESCRIPTION["paths"].items()
    for method in operations
    if (method.upper(), path) not in _SKIPPED
)


def test_the_page_is_up_to_date() -> None:
    said = json.loads(PAGE.read_text(encoding="utf-8"))
    assert said == DESCRIPTION, "run: python -m edgeqa_cloud.api.openapi > docs/openapi.json"


def test_every_operation_says_what_it_does_and_how_it_fails() -> None:
    for path, operations in DESCRIPTION["paths"].items():
        for method, one in operations.items():
            where = f"{method} {path}"
            assert one.get("summary"), where
            assert one.get("description"), where
            assert "503" in one["responses"], where
            problems = [status for status in one["responses"] if status >= "400"]
            for status in problems:
                content = one["responses"][status]["content"]
                assert list(content) == ["application/problem+json"], where


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[ApiWorld]:
    databases: Databases = request.getfixturevalue("sqlite_databases")
    with databases.open(databases.new()) as database, api_world(database) as made:
        made.asker.answer = lambda device, *_: Answer(
            id="a", status="ok", device=device, answers=[]
        )
        key = made.fleet.device("pi5")
        made.fleet.telemetry(key, age_ms=60_000)
        made.fleet.evaluation(key, age_ms=60_000)
        made.fleet.swap(key, age_ms=60_000)
        made.fleet.rollup(key, age_ms=7_200_000)
        made.fleet.many(20)
        yield made


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        yield made


def _fuzz(
    world: ApiWorld, session: requests.Session, operation: tuple[str, str], role: Role, many: int
) -> None:
    """Calls of one operation, right and wrong ones; each answer is as the description says."""
    method, path = operation
    one = SCHEMA[path][method]
    token = world.token(f"fuzz-{role}-{OPERATIONS.index(operation)}-{many}", role)

    @settings(
        max_examples=many, deadline=None, database=None, derandomize=True,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(one.as_strategy(GenerationMode.POSITIVE) | one.as_strategy(GenerationMode.NEGATIVE))
    def check(case: schemathesis.Case) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        response = case.call(base_url=world.url, session=session, headers=headers)
        assert response.headers["x-content-type-options"] == ["nosniff"]
        case.validate_response(response, checks=_CHECKS)

    check()


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_answers_are_as_described(
    world: ApiWorld, session: requests.Session, operation: tuple[str, str]
) -> None:
    # Admins get furthest; what others may not is `test_each_role_is_answered`.
    _fuzz(world, session, operation, Role.ADMIN, 4)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_each_role_is_answered(world: ApiWorld, session: requests.Session, role: Role) -> None:
    for operation in OPERATIONS:
        _fuzz(world, session, operation, role, 1)


@pytest.mark.slow
@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_many_answers_are_as_described(
    world: ApiWorld, session: requests.Session, operation: tuple[str, str], role: Role
) -> None:
    _fuzz(world, session, operation, role, 150)
