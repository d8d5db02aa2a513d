"""Logging in by name and password, and out.

Whoever was on the way to a page comes to it afterwards, and never to another site.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Form, Request, Response
from starlette.responses import RedirectResponse

from edgeqa.errors import EdgeqaError
from edgeqa_cloud.access.accounts import LoginError, ThrottledError
from edgeqa_cloud.api.access import identify, session_secret
from edgeqa_cloud.api.cookies import log_in, log_out
from edgeqa_cloud.web.addresses import own_address
from edgeqa_cloud.web.guard import page_router
from edgeqa_cloud.web.rendering import render

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

_TEXT = Form()
_MAX_NAME_CHARS = 64


@dataclass(frozen=True, slots=True)
class _Trouble:
    title: str
    text: str
    code: str


def router(console: Console) -> APIRouter:
    """The pages."""
    pages = page_router()

    @pages.get("/login")
    def form(request: Request) -> Response:
        """The form; for somebody who has logged in, where they wanted to go."""
        after = own_address(request.query_params.get("next"))
        if identify(request) is not None:
            return _onward(after)
        return render(
            request, "login.html", now_ms=console.now_ms(), next=after, name="", error=None,
            expired=session_secret(request) is not None,
        )  # fmt: skip

    @pages.post("/login")
    def login(
        request: Request,
        name: Annotated[str, _TEXT] = "",
        password: Annotated[str, _TEXT] = "",
        after: Annotated[str, Form(alias="next")] = "/",
    ) -> Response:
        """Begin a session."""
        name, after = name.strip(), own_address(after)
        response = _onward(after)
        try:
            log_in(console, request, response, name, password)
        except (LoginError, ThrottledError) as error:
            return _refused(console, request, error, name=name, after=after)
        return response

    @pages.post("/logout")
    def logout(request: Request) -> Response:
        """End the session."""
        response = _onward("/login")
        log_out(console, request, response)
        return response

    return pages


def _refused(
    console: Console, request: Request, error: EdgeqaError, *, name: str, after: str
) -> Response:
    headers: dict[str, str] = {}
    if isinstance(error, ThrottledError):
        status = HTTPStatus.TOO_MANY_REQUESTS
        headers["Retry-After"] = str(max(1, round(error.wait_s)))
        trouble = _Trouble("Not so fast.", f"{error}.".capitalize(), error.code)
    else:
        status = HTTPStatus.UNAUTHORIZED
        trouble = _Trouble(
            "The name or the password is wrong.", "Capitals matter in both.", error.code
        )
    return render(
        request, "login.html", status=status, now_ms=console.now_ms(), next=after,
        name=name[:_MAX_NAME_CHARS], error=trouble, expired=False, headers=headers,
    )  # fmt: skip


def _onward(address: str) -> RedirectResponse:
    return RedirectResponse(address, status_code=HTTPStatus.SEE_OTHER)
