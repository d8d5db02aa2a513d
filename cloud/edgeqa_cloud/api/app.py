"""The web application: the API, and the pages beside it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from edgeqa.errors import EdgeqaError
from edgeqa_cloud.access.accounts import ThrottledError
from edgeqa_cloud.api.access import is_https
from edgeqa_cloud.api.idempotency import Idempotency
from edgeqa_cloud.api.middleware import API, Bodies, Conditional, Guard
from edgeqa_cloud.api.openapi import ABOUT, TAGS, described
from edgeqa_cloud.api.problems import Problem, database_away, problem_of, respond
from edgeqa_cloud.api.repeats import Repeats

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

ROOT = "/api/v1"
_PARTS = (
    "session", "fleet", "devices", "ask", "evaluations", "rollouts", "packages", "tags", "audit",
    "people", "events", "healthz", "docs",
)  # fmt: skip
# Of a request's errors that are told; one that is wrong all over is not told all of it.
_MAX_ERRORS = 20
_SHOWN_CHARS = 300


def build_app(console: Console) -> FastAPI:
    """All endpoints and pages."""
    app = FastAPI(
        title="EdgeQA", version=version("edgeqa"), description=ABOUT, openapi_tags=TAGS,
        openapi_url=f"{ROOT}/openapi.json", docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.console = console
    for name in _PARTS:
        router: APIRouter = importlib.import_module(f"edgeqa_cloud.api.{name}").router(console)
        app.include_router(router, prefix=ROOT)
    pages: APIRouter = importlib.import_module("edgeqa_cloud.web.pages").router(console)
    app.include_router(pages)
    app.openapi = lambda: described(app)  # type: ignore[method-assign]  # as FastAPI's manual does
    _handle(app)
    keys = Idempotency(database=console.database, now_ms=console.now_ms)
    # The last one is the outermost.
    app.add_middleware(Repeats, console=console, keys=keys)
    app.add_middleware(Conditional)
    app.add_middleware(Bodies)
    app.add_middleware(Guard, https=is_https(console), log=console.log)
    return app


def _handle(app: FastAPI) -> None:
    @app.exception_handler(ThrottledError)
    def _throttled(_: Request, error: ThrottledError) -> Response:
        wait = {"Retry-After": str(max(1, round(error.wait_s)))}
        return respond(Problem(429, error.code, str(error), headers=wait))

    @app.exception_handler(EdgeqaError)
    def _expected(_: Request, error: EdgeqaError) -> Response:
        return respond(problem_of(error))

    @app.exception_handler(DBAPIError)
    @app.exception_handler(PoolTimeoutError)
    def _away(request: Request, error: Exception) -> Response:
        request.app.state.console.log.warning(
            "request_without_database", path=request.url.path[:200], reason=type(error).__name__
        )
        return respond(database_away())

    @app.exception_handler(RequestValidationError)
    def _invalid(_: Request, error: RequestValidationError) -> Response:
        return respond(invalid(error))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> Response:
        if request.url.path.startswith(API):
            return respond(error if isinstance(error, Problem) else _plain(error))
        from edgeqa_cloud.web.guard import refused_page  # noqa: PLC0415  pages import from here

        return refused_page(request, error)


def invalid(error: RequestValidationError) -> Problem:
    """A request that is not as it should be; what was sent is not repeated."""
    errors = [_error(one) for one in error.errors()[:_MAX_ERRORS]]
    first = errors[0]
    where = ".".join(str(part) for part in first["where"])
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid_request",
        f"{where}: {first['message']}"[:_SHOWN_CHARS],
        errors=errors,
    )


def _error(one: Mapping[str, Any]) -> dict[str, Any]:
    where = [part if isinstance(part, int) else str(part)[:100] for part in one["loc"]]
    return {"where": where, "message": str(one["msg"])[:_SHOWN_CHARS], "type": one["type"]}


def _plain(error: HTTPException) -> Problem:
    code, detail = _PLAIN.get(error.status_code, ("bad_request", str(error.detail)[:_SHOWN_CHARS]))
    return Problem(error.status_code, code, detail, headers=error.headers)


_PLAIN = {
    404: ("not_found", "there is nothing at this address; /api/v1/docs lists what there is"),
    405: ("method_not_allowed", "not with this method; `Allow` says with which"),
}
