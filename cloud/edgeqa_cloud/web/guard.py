"""Who may see a page, and what a page says that cannot be shown.

Pages answer in HTML whatever happens: without a login they lead to one and back, and where the
database is away they say so and try again.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from edgeqa_cloud.api.access import Caller, operator, viewer
from edgeqa_cloud.database import DatabaseError
from edgeqa_cloud.web.addresses import login_address
from edgeqa_cloud.web.rendering import render

Viewer = Annotated[Caller, Depends(viewer)]
Operator = Annotated[Caller, Depends(operator)]

_HOME = ("/", "Overview")


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

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:
        """The handler of the framework, and pages for what it raises."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except PageProblem as problem:
                return problem_page(request, problem)
            except (DatabaseError, DBAPIError, PoolTimeoutError):
                return problem_page(request, _away(request))
            except RequestValidationError as error:
                return problem_page(request, _invalid(error))
            except HTTPException as error:
                return _refused(request, error)

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
        headers={"Retry-After": "5"} if problem.status == 503 else None,  # noqa: PLR2004
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
    return RedirectResponse(login_address(after), status_code=303)


def _refused(request: Request, error: HTTPException) -> Response:
    match error.status_code:
        case 401:
            return to_login(request)
        case 403:
            problem = PageProblem(
                403, "You may not do this.", "Ask an operator, or somebody who may change roles.",
                code="forbidden",
            )  # fmt: skip
        case 404:
            problem = PageProblem(404, "There is no such page.", "Check its address.")
        case status:
            problem = PageProblem(status, "That did not work.", str(error.detail))
    return problem_page(request, problem)


def _away(request: Request) -> PageProblem:
    return PageProblem(
        503,
        "The database is away.",
        "The cloud cannot reach its database; devices go on answering, and what they measure waits "
        "on them. See the log of `edgeqa cloud run`, then try again.",
        code="database_unreachable",
        back=(str(request.url.path), "Try again"),
    )


def _invalid(error: RequestValidationError) -> PageProblem:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return PageProblem(400, "That cannot be read.", f"{where}: {first['msg']}")
