"""The web application: the API, and the pages beside it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import edgeqa
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from edgeqa.errors import EdgeqaError
from edgeqa_cloud.api.problems import Problem, database_away, problem_of, respond

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

ROOT = "/api/v1"
_PARTS = (
    "session", "fleet", "devices", "ask", "evaluations", "rollouts", "packages", "tags", "audit",
    "people", "events", "healthz",
)  # fmt: skip


def build_app(console: Console) -> FastAPI:
    """All endpoints and pages."""
    app = FastAPI(title="EdgeQA", version=edgeqa.__version__, docs_url=None, redoc_url=None,
                  openapi_url=f"{ROOT}/openapi.json")  # fmt: skip
    app.state.console = console
    for name in _PARTS:
        part = _module(f"edgeqa_cloud.api.{name}")
        if part is not None:
            router: APIRouter = part.router(console)
            app.include_router(router, prefix=ROOT)
    pages = _module("edgeqa_cloud.web.pages")
    if pages is not None:
        app.include_router(pages.router(console))
    _handle(app)
    return app


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def _handle(app: FastAPI) -> None:
    @app.exception_handler(EdgeqaError)
    def _expected(_: Request, error: EdgeqaError) -> Response:
        return respond(problem_of(error))

    @app.exception_handler(DBAPIError)
    @app.exception_handler(PoolTimeoutError)
    def _away(_: Request, __: Exception) -> Response:
        return respond(database_away())

    @app.exception_handler(RequestValidationError)
    def _invalid(_: Request, error: RequestValidationError) -> Response:
        return respond(Problem(422, "invalid_request", str(error.errors()[0]["msg"])))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> Response:
        if not request.url.path.startswith("/api/"):
            # Whoever looks at a page is told by one. Imported here: pages ask who asks, as we do.
            from edgeqa_cloud.web.guard import refused_page  # noqa: PLC0415

            return refused_page(request, error)
        if not isinstance(error, Problem):
            error = Problem(error.status_code, "http", str(error.detail), headers=error.headers)
        return respond(error)
