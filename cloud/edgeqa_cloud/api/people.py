"""`/users` and `/tokens`: who has access. For admins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from edgeqa_cloud.access import account_rows
from edgeqa_cloud.access.account_rows import AccountView
from edgeqa_cloud.access.roles import Kind, Role
from edgeqa_cloud.access.secrets_at_rest import (
    MAX_PASSWORD_CHARS,
    MIN_PASSWORD_CHARS,
    hash_password,
    kept,
    new_token,
)
from edgeqa_cloud.api.access import Admin
from edgeqa_cloud.api.described import problems
from edgeqa_cloud.fleet_views import View

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
AccountName = Annotated[str, Path(pattern=_NAME)]
NewName = Annotated[str, Field(pattern=_NAME)]
Password = Annotated[str, Field(min_length=MIN_PASSWORD_CHARS, max_length=MAX_PASSWORD_CHARS)]
# Ten years.
_MAX_DAYS = 3650


class TokenBody(BaseModel):
    """A token to make."""

    model_config = ConfigDict(extra="forbid")

    name: NewName
    role: Role = Role.VIEWER
    expires_days: Annotated[
        float | None, Field(gt=0, le=_MAX_DAYS, allow_inf_nan=False, description="Null: never.")
    ] = None


class UserBody(BaseModel):
    """A user to make."""

    model_config = ConfigDict(extra="forbid")

    name: NewName
    role: Role = Role.VIEWER
    password: Password


class PasswordBody(BaseModel):
    """Another password."""

    model_config = ConfigDict(extra="forbid")

    password: Password


class NewTokenView(AccountView):
    """A token that was made."""

    token: str = Field(description="The secret; it is told this once and kept nowhere.")


class AccountList(View):
    """Users, or tokens, by name."""

    accounts: list[AccountView]


def router(console: Console) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(tags=["access"])
    _add_tokens(routes, console)
    _add_users(routes, console)
    return routes


def _add_tokens(routes: APIRouter, console: Console) -> None:
    @routes.get("/tokens", responses=problems(403))
    def list_tokens(_: Admin) -> AccountList:
        """Tokens of programs, also those that count no more; never their secrets."""
        with console.database.reading() as connection:
            return AccountList(accounts=account_rows.list_accounts(connection, Kind.TOKEN))

    @routes.post("/tokens", status_code=201, responses=problems(403, 409))
    def create_token(caller: Admin, body: TokenBody) -> NewTokenView:
        """Make a token; its secret is in this answer alone.

        With `Idempotency-Key` the answer, and with it the secret, would have to be kept: the key
        is not honoured here. A name can be taken once, so a repeated call makes no second token.
        """
        token, now_ms = new_token(), console.now_ms()
        days = body.expires_days
        with console.database.writing() as connection:
            made = account_rows.create(
                connection, Kind.TOKEN, body.name, role=body.role, secret=kept(token),
                actor=caller.actor, now_ms=now_ms,
                expires_ms=None if days is None else now_ms + round(days * 86_400_000),
            )  # fmt: skip
        return NewTokenView(token=token, **made.model_dump())

    @routes.delete("/tokens/{name}", responses=problems(403, 404))
    def revoke_token(caller: Admin, name: AccountName) -> AccountView:
        """A token counts no more, from now on."""
        with console.database.writing() as connection:
            return account_rows.revoke_token(
                connection, name, actor=caller.actor, now_ms=console.now_ms()
            )


def _add_users(routes: APIRouter, console: Console) -> None:
    @routes.get("/users", responses=problems(403))
    def list_users(_: Admin) -> AccountList:
        """People who can log in."""
        with console.database.reading() as connection:
            return AccountList(accounts=account_rows.list_accounts(connection, Kind.USER))

    @routes.post("/users", status_code=201, responses=problems(403, 409))
    def create_user(caller: Admin, body: UserBody) -> AccountView:
        """Make somebody who can log in."""
        secret = hash_password(body.password)
        with console.database.writing() as connection:
            return account_rows.create(
                connection, Kind.USER, body.name, role=body.role, secret=secret,
                actor=caller.actor, now_ms=console.now_ms(),
            )  # fmt: skip

    @routes.put("/users/{name}/password", status_code=204, responses=problems(403, 404))
    def set_password(caller: Admin, name: AccountName, body: PasswordBody) -> None:
        """Give somebody another password; all their logins end."""
        secret = hash_password(body.password)
        with console.database.writing() as connection:
            account_rows.set_password(
                connection, name, secret=secret, actor=caller.actor, now_ms=console.now_ms()
            )

    @routes.delete("/users/{name}", status_code=204, responses=problems(403, 404))
    def remove_user(caller: Admin, name: AccountName) -> None:
        """Remove somebody; their logins end."""
        with console.database.writing() as connection:
            account_rows.remove_user(connection, name, actor=caller.actor, now_ms=console.now_ms())
