"""The browser's session cookie: given at the login, taken at the logout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from edgeqa_cloud.access.accounts import Session
from edgeqa_cloud.api.access import SAFE_METHODS, cookie_name, is_https, session_secret
from edgeqa_cloud.api.origins import check_origin

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console


def log_in(
    console: Console, request: Request, response: Response, name: str, password: str
) -> Session:
    """Begin a session, and give the browser its cookie.

    Raises:
        Problem: another site's page sent it.
        LoginError, ThrottledError: as `Accounts.login`.
    """
    if request.method not in SAFE_METHODS:
        _check(console, request)
    address = request.client.host if request.client else "unknown"
    session = console.accounts.login(name, password, address=address)
    response.set_cookie(
        cookie_name(console),
        session.secret,
        # It ends here too; that is what counts.
        max_age=max(0, (session.expires_ms - console.now_ms()) // 1000),
        path="/",
        secure=is_https(console),
        httponly=True,
        samesite="strict",
    )
    return session


def log_out(console: Console, request: Request, response: Response) -> None:
    """End the session that the browser's cookie is of, if any, and take the cookie."""
    _check(console, request)
    secret = session_secret(request)
    if secret is not None:
        console.accounts.logout(secret)
    response.delete_cookie(
        cookie_name(console), path="/", secure=is_https(console), httponly=True, samesite="strict"
    )


def _check(console: Console, request: Request) -> None:
    # A program that logs in has neither header, and no cookies that a page could misuse.
    told = {"sec-fetch-site", "origin"} & set(request.headers.keys())
    check_origin(request, console.settings, changes=bool(told))
