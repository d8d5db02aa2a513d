"""Who asks: the bearer token or the browser's session, and the roles that endpoints need.

`viewer`, `operator` and `admin` are dependencies; each gives the `Caller` or refuses. A cookie
counts for a change only where the browser says that a page of ours sent it: other pages cannot
make a browser say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPBearer

from edgeqa_cloud.access.roles import Caller, Kind, Role
from edgeqa_cloud.api.origins import check_origin
from edgeqa_cloud.api.problems import CHALLENGE, Problem

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

__all__ = ["Admin", "Caller", "Kind", "Operator", "Role", "Viewer", "admin", "operator", "viewer"]

COOKIE = "edgeqa-session"
# A browser takes this name over HTTPS only, from this host only, for all of it (RFC 6265bis).
SECURE_COOKIE = "__Host-edgeqa-session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Of a header or a cookie; ours are some 50.
_MAX_SECRET_CHARS = 200

# For the description of the API alone: what they find is read by `identify`.
_bearer = HTTPBearer(
    auto_error=False, scheme_name="token", description="An API token: `edgeqa cloud token create`."
)
_cookie = APIKeyCookie(
    name=COOKIE,
    auto_error=False,
    scheme_name="session",
    description="Of a browser that logged in; over https its name begins with `__Host-`.",
)


def identify(request: Request) -> Caller | None:
    """Who asks; None: nobody that is known.

    A header that is wrong counts as none, whatever cookies come with it.

    Raises:
        Problem: a cookie with a change that no page of ours sent, or to a host that is not ours.
        DatabaseError: the database is away.
    """
    console: Console = request.app.state.console
    said = request.headers.get("authorization")
    if said is not None:
        scheme, _, token = said.partition(" ")
        if scheme.lower() != "bearer" or not 0 < len(token) <= _MAX_SECRET_CHARS:
            return None
        return console.accounts.of_token(token.strip())
    secret = session_secret(request)
    if secret is None:
        return None
    caller = console.accounts.of_session(secret)
    if caller is not None:
        check_origin(request, console.settings, changes=request.method not in SAFE_METHODS)
    return caller


def session_secret(request: Request) -> str | None:
    """Of the browser's session, if it sent one that could be ours."""
    console: Console = request.app.state.console
    secret = request.cookies.get(cookie_name(console))
    return secret if secret and len(secret) <= _MAX_SECRET_CHARS else None


def cookie_name(console: Console) -> str:
    """Of the session's cookie."""
    return SECURE_COOKIE if is_https(console) else COOKIE


def is_https(console: Console) -> bool:
    """Whether browsers reach the cloud by https."""
    return (console.settings.public_url or "").startswith("https://")


def _caller(
    request: Request,
    _token: Annotated[object, Depends(_bearer)] = None,
    _session: Annotated[object, Depends(_cookie)] = None,
) -> Caller:
    caller = identify(request)
    if caller is None:
        raise unauthorized("authorization" in request.headers)
    request.state.caller = caller
    return caller


Known = Annotated[Caller, Depends(_caller)]


def viewer(caller: Known) -> Caller:
    """Somebody who may look."""
    return caller


def operator(caller: Known) -> Caller:
    """Somebody who may roll out, tag and ask."""
    return _need(caller, Role.OPERATOR)


def admin(caller: Known) -> Caller:
    """Somebody who may say who has access."""
    return _need(caller, Role.ADMIN)


Viewer = Annotated[Caller, Depends(viewer)]
Operator = Annotated[Caller, Depends(operator)]
Admin = Annotated[Caller, Depends(admin)]


def unauthorized(said: bool) -> Problem:
    """Nobody that is known; the same words for a token that never was, and one that ended."""
    return Problem(
        401,
        "unauthorized",
        "the token is not known here, has expired or was revoked; make another with `edgeqa cloud "
        "token create NAME --role ROLE`"
        if said
        else "log in, or send a token: `Authorization: Bearer edgeqa_…`, which `edgeqa cloud token "
        "create` makes",
        headers={"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"' if said else CHALLENGE},
    )


def _need(caller: Caller, role: Role) -> Caller:
    if not caller.role.covers(role):
        raise Problem(
            403,
            "forbidden",
            f"{caller.actor} is {_a(caller.role)}, and this takes {_a(role)}: ask an admin for "
            "another role",
        )
    return caller


def _a(role: Role) -> str:
    return f"an {role}" if role.value[0] in "ao" else f"a {role}"
