"""`/session`: who asks; logging in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from edgeqa_cloud.access.roles import Kind, Role
from edgeqa_cloud.access.secrets_at_rest import MAX_PASSWORD_CHARS
from edgeqa_cloud.api.access import Caller, Viewer
from edgeqa_cloud.api.cookies import log_in, log_out
from edgeqa_cloud.api.described import problems
from edgeqa_cloud.fleet_views import View

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console


class SessionView(View):
    """Who asks."""

    name: str
    kind: Kind
    role: Role
    expires_ms: int | None = Field(description="Of the login or the token; null: never.")


class LoginBody(BaseModel):
    """A user's name and password."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=64)]
    password: Annotated[str, Field(max_length=MAX_PASSWORD_CHARS)]


def router(console: Console) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(prefix="/session", tags=["session"])

    @routes.get("")
    def show_session(caller: Viewer) -> SessionView:
        """Who the token or the cookie is of."""
        return _view(caller)

    @routes.post("", responses=problems(401, 403, 421, 429), openapi_extra={"security": []})
    def log_in_session(body: LoginBody, request: Request, response: Response) -> SessionView:
        """Log in with a password; the answer gives a cookie. Programs use tokens instead.

        After some failures, each further try of a name or from an address has to wait.
        """
        return _view(log_in(console, request, response, body.name, body.password).caller)

    @routes.delete(
        "", status_code=204, responses=problems(403, 421), openapi_extra={"security": []}
    )
    def log_out_session(request: Request, response: Response) -> None:
        """Log out; no error for who is not logged in."""
        log_out(console, request, response)

    return routes


def _view(caller: Caller) -> SessionView:
    return SessionView(
        name=caller.name, kind=caller.kind, role=caller.role, expires_ms=caller.expires_ms
    )
