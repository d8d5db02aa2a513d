"""Who may see a page, and what a page says that cannot be shown.

Pages answer in HTML whatever happens: without a login they lead to one and back, and where the
database is away they say so and try again.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from edgeqa.errors import EdgeqaError
from edgeqa_cloud.api.access import Operator, Viewer
from edgeqa_cloud.api.problems import RETRY_AFTER_S, Problem, database_away, problem_of
from edgeqa_cloud.web.addresses import login_address, own_address
from edgeqa_cloud.web.rendering import render

__all__ = [
    "Operator", "PageProblem", "Viewer", "is_live", "is_refresh", "page_router", "problem_page",
    "refused_page", "to_login",
]  # fmt: skip

_HOME = ("/", "Overview")
_TITLES = {
    "database_unreachable": "The database is away.",
    "forbidden": "You may not do this.",
    "internal_error": "That went wrong, and should not.",
    "404": "There is no such page.",
    "405": "This page takes no such request.",
    "503": "That is away.",
}


class PageProblem(Exception):  # noqa: N818  not an error of ours: what a page says
    """A page that says why it is not the one that was asked for."""

    def __init__(
        self,
        status: int,
        title: str,
        text: str,
        *,
        code: str = "",
        back: tuple[str, str] = _HOME,
    ) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.text = text
        self.code = code
        self.back = back


class PageRoute(APIRoute):
    """A route whose errors are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the framework, and pages for what it raises."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except PageProblem as problem:
                return problem_page(request, problem)
            except (DBAPIError, PoolTimeoutError):
                return refused_page(request, database_away())
            except EdgeqaError as error:
                return refused_page(request, problem_of(error))
            except RequestValidationError as error:
                return problem_page(request, _invalid(error))
            except HTTPException as error:
                return refused_page(request, error)

        return answer


def page_router() -> APIRouter:
    """For pages, which no description of the API lists."""
    return APIRouter(include_in_schema=False, route_class=PageRoute)


def is_refresh(request: Request) -> bool:
    """Whether a script asks for a part of a page that is open."""
    return "hx-request" in request.headers


def is_live(request: Request) -> bool:
    """Whether it does so by itself, because something changed."""
    return "edgeqa-refresh" in request.headers


def problem_page(request: Request, problem: PageProblem) -> Response:
    """Why it is not the page that was asked for."""
    return render(
        request, "error.html", status=problem.status, title=problem.title, text=problem.text,
        code=problem.code, back=problem.back, number=problem.status,
        caller=getattr(request.state, "caller", None),
        headers={"Retry-After": str(RETRY_AFTER_S)}
        if problem.status == HTTPStatus.SERVICE_UNAVAILABLE else None,
    )  # fmt: skip


def to_login(request: Request) -> Response:
    """To the login, and back to where the person was."""
    if is_refresh(request):
        here = urllib.parse.urlsplit(request.headers.get("hx-current-url", ""))
        address = login_address(urllib.parse.urlunsplit(("", "", here.path, here.query, "")))
        return Response(status_code=204, headers={"HX-Redirect": address})
    after = request.url.path
    if request.method not in {"GET", "HEAD"}:
        after = urllib.parse.urlsplit(request.headers.get("referer", "")).path
    elif request.url.query:
        after += f"?{request.url.query}"
    if request.headers.get("sec-fetch-site") == "cross-site" and request.method == "GET":
        # A link on somebody else's page: browsers do not send our cookie along (SameSite=Strict),
        # but do when our own page leads to the same address.
        return render(request, "onward.html", address=own_address(after))
    return RedirectResponse(login_address(after), status_code=303)


def refused_page(request: Request, error: HTTPException) -> Response:
    """A page for an error of the API."""
    status = error.status_code
    if status == HTTPStatus.UNAUTHORIZED:
        return to_login(request)
    code = error.code if isinstance(error, Problem) else ""
    text = str(error.detail) if code else ""
    title = _TITLES.get(code) or _TITLES.get(str(status)) or HTTPStatus(status).phrase
    back = _HOME
    if status == HTTPStatus.SERVICE_UNAVAILABLE and request.method == "GET":
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        back = (own_address(here), "Try again")
    return problem_page(
        request,
        PageProblem(status, title, text or "Check the address.", code=code, back=back),
    )


def _invalid(error: RequestValidationError) -> PageProblem:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return PageProblem(400, "That cannot be read.", f"{where}: {first['msg']}")
