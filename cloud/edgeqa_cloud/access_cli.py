"""`edgeqa cloud user …` and `edgeqa cloud token …`: who has access, in the database itself.

Whoever can write the database can do anything anyway, so these ask nobody's leave; what they do
stands in the audit log. Passwords are prompted for, or read from a file or a pipe: an argument
would stand in the list of processes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from edgeqa.commands import unix_ms
from edgeqa.errors import UsageError
from edgeqa.flags import settings_options
from edgeqa.show import clean
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
from edgeqa_cloud.access.shell import shell_actor
from edgeqa_cloud.database import DatabaseError, reason
from edgeqa_cloud.fleet_reader import open_database
from edgeqa_cloud.settings import CloudSettings
from edgeqa_cloud.words import parse_span

ResultT = TypeVar("ResultT")

_DATABASE = {"database", "database_password_file", "database_timeout_s", "sqlite_synchronous"}
_with_database = settings_options(
    CloudSettings, without=set(CloudSettings.model_fields) - _DATABASE
)

users = typer.Typer(
    help="People who can log in to the web page.", no_args_is_help=True, rich_markup_mode=None
)
tokens = typer.Typer(
    help="Tokens of programs that ask the API.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(help="1 to 64 letters, digits, '.', '_' or '-'.")]
RoleOption = Annotated[
    Role, typer.Option(help="viewer: looks. operator: also rolls out. admin: also gives access.")
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(help="File with the password; `-`: standard input. Else it is prompted for."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@users.command("add")
@_with_database
def add_user(
    settings: CloudSettings,
    name: Name,
    role: RoleOption = Role.VIEWER,
    password_file: PasswordFile = None,
) -> None:
    """Make somebody who can log in."""
    secret = hash_password(_password(password_file))
    _write(
        settings,
        lambda connection: account_rows.create(
            connection,
            Kind.USER,
            name,
            role=role,
            secret=secret,
            actor=shell_actor(),
            now_ms=unix_ms(),
        ),
    )
    typer.echo(f"{name} can log in as {role}")


@users.command("passwd")
@_with_database
def change_password(
    settings: CloudSettings, name: Name, password_file: PasswordFile = None
) -> None:
    """Give somebody another password; all their logins end."""
    secret = hash_password(_password(password_file))
    _write(
        settings,
        lambda connection: account_rows.set_password(
            connection, name, secret=secret, actor=shell_actor(), now_ms=unix_ms()
        ),
    )
    typer.echo(f"{name} has another password")


@users.command("remove")
@_with_database
def remove_user(settings: CloudSettings, name: Name) -> None:
    """Remove somebody; their logins end."""
    _write(
        settings,
        lambda connection: account_rows.remove_user(
            connection, name, actor=shell_actor(), now_ms=unix_ms()
        ),
    )
    typer.echo(f"{name} is removed")


@users.command("list")
@_with_database
def list_users(settings: CloudSettings, as_json: AsJson = False) -> None:
    """List who can log in."""
    _list(settings, Kind.USER, as_json=as_json)


@tokens.command("create")
@_with_database
def create_token(
    settings: CloudSettings,
    name: Name,
    role: RoleOption = Role.VIEWER,
    expires: Annotated[
        str | None, typer.Option(help="After this it counts no more: 24h, 30d; never unless said.")
    ] = None,
) -> None:
    """Make a token, and print it: this once, as only its hash is kept."""
    token, now_ms = new_token(), unix_ms()
    ends_ms = None if expires is None else now_ms + round(parse_span(expires, "--expires") * 1000)
    _write(
        settings,
        lambda connection: account_rows.create(
            connection, Kind.TOKEN, name, role=role, secret=kept(token), actor=shell_actor(),
            now_ms=now_ms, expires_ms=ends_ms,
        ),
    )  # fmt: skip
    typer.echo(token)
    typer.echo(f"{name} is {role}; the token is told this once", err=True)


@tokens.command("revoke")
@_with_database
def revoke_token(settings: CloudSettings, name: Name) -> None:
    """A token counts no more, from now on."""
    _write(
        settings,
        lambda connection: account_rows.revoke_token(
            connection, name, actor=shell_actor(), now_ms=unix_ms()
        ),
    )
    typer.echo(f"{name} is revoked")


@tokens.command("list")
@_with_database
def list_tokens(settings: CloudSettings, as_json: AsJson = False) -> None:
    """List tokens, also those that count no more; never their secrets."""
    _list(settings, Kind.TOKEN, as_json=as_json)


def _list(settings: CloudSettings, kind: Kind, *, as_json: bool) -> None:
    with open_database(settings) as database, database.reading() as connection:
        found = account_rows.list_accounts(connection, kind)
    for line in _lines(found, as_json=as_json, now_ms=unix_ms()):
        typer.echo(line)
    if not found and not as_json:
        make = "add" if kind is Kind.USER else "create"
        typer.echo(f"no {kind}s; make one: edgeqa cloud {kind} {make} NAME --role operator")


def _lines(found: Sequence[AccountView], *, as_json: bool, now_ms: int) -> list[str]:
    if as_json:
        return [json.dumps(one.model_dump(mode="json")) for one in found]
    return [
        clean(
            f"{one.name:<32}  {one.role:<8}  made {_day(one.created_ms)} by {one.created_by}, "
            f"{'used ' + _day(one.last_used_ms) if one.last_used_ms else 'never used'}"
            f"{_ended(one, now_ms)}"
        )
        for one in found
    ]


def _ended(one: AccountView, now_ms: int) -> str:
    if one.revoked_ms is not None:
        return f", revoked {_day(one.revoked_ms)}"
    if one.expires_ms is None:
        return ""
    return f", {'expired' if one.expires_ms <= now_ms else 'expires'} {_day(one.expires_ms)}"


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _write(settings: CloudSettings, act: Callable[[Connection], ResultT]) -> ResultT:
    with open_database(settings) as database:
        try:
            with database.writing() as connection:
                return act(connection)
        except DBAPIError as error:
            raise DatabaseError(f"database {database.shown}: {reason(error)}") from error


def _password(file: Path | None) -> str:
    if file is None and sys.stdin.isatty():
        password = typer.prompt("password", hide_input=True, confirmation_prompt=True)
    else:
        password = _read(file)
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise UsageError(
            f"a password has {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS:,} characters, and this "
            f"has {len(password):,}",
            code="bad_password",
        )
    return str(password)


def _read(file: Path | None) -> str:
    most = 4 * MAX_PASSWORD_CHARS
    try:
        if file is None or str(file) == "-":
            text = sys.stdin.read(most)
        else:
            with file.open(encoding="utf-8") as opened:
                text = opened.read(most)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"password: {file or 'standard input'}: {error}") from error
    return text.removesuffix("\n").removesuffix("\r")
