"""Accounts in the database: users with passwords and tokens of programs. Each change stands in the
audit log, in the same transaction.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field
from sqlalchemy import Connection, Row, delete, insert, select, update

from edgeqa.errors import ExitCode, UsageError
from edgeqa.topics import is_name
from edgeqa_cloud.access.roles import Kind, Role
from edgeqa_cloud.access.tables import accounts, sessions
from edgeqa_cloud.fleet_views import View
from edgeqa_cloud.rollout.audit_log import append
from edgeqa_cloud.rollout.model import Decision
from edgeqa_cloud.words import said

# More than any team and its programs have.
MAX_ACCOUNTS = 10_000


class AccountView(View):
    """A user or a token; never its secret."""

    name: str
    kind: Kind
    role: Role
    created_ms: int
    created_by: str
    expires_ms: int | None = Field(description="Null: never.")
    revoked_ms: int | None = Field(description="Of a token that counts no more.")
    last_used_ms: int | None = Field(description="To the minute.")


class UnknownAccountError(UsageError):
    """There is no such user or token."""

    code = "unknown_account"


class AccountExistsError(UsageError):
    """There is one of that name already."""

    code = "account_exists"
    exit_code = ExitCode.REFUSED


class AccountError(UsageError):
    """It cannot be called that, or there are too many."""

    code = "bad_account"


def list_accounts(connection: Connection, kind: Kind) -> list[AccountView]:
    """All of a kind, by name."""
    rows = connection.execute(
        select(accounts).where(accounts.c.kind == kind.value).order_by(accounts.c.name)
    )
    return [_view(row) for row in rows]


def create(
    connection: Connection,
    kind: Kind,
    name: str,
    *,
    role: Role,
    secret: str,
    actor: str,
    now_ms: int,
    expires_ms: int | None = None,
) -> AccountView:
    """Make a user or a token. One that was revoked or has expired leaves its name free.

    Args:
        connection: a writing transaction.
        secret: what is kept of it.
        actor: who makes it.

    Raises:
        AccountExistsError: there is one of that name.
        AccountError: that is no name, or there are too many.
    """
    if not is_name(name):
        raise AccountError(
            f"{said(name)[:70]!r} is no name: 1 to 64 letters, digits, '.', '_' or '-', the first "
            "a letter or a digit"
        )
    found = _find(connection, kind, name, lock=True)
    values = {
        "role": role.value, "secret": secret, "created_ms": now_ms, "created_by": actor,
        "expires_ms": expires_ms, "revoked_ms": None, "last_used_ms": None,
    }  # fmt: skip
    if found is None:
        _check_room(connection)
        connection.execute(insert(accounts).values(kind=kind.value, name=name, **values))
    elif found.revoked_ms is not None or (found.expires_ms or now_ms) < now_ms:
        connection.execute(update(accounts).where(accounts.c.id == found.id).values(**values))
    else:
        raise AccountExistsError(f"there is a {kind} {name} already; remove it, or say another")
    _log(
        connection, f"{kind}_created", f"{kind} {name}: made, {role}", actor=actor, now_ms=now_ms,
        evidence={"name": name, "role": role.value, "expires_ms": expires_ms},
    )  # fmt: skip
    return find(connection, kind, name)


def find(connection: Connection, kind: Kind, name: str) -> AccountView:
    """One of them.

    Raises:
        UnknownAccountError: there is none.
    """
    return _view(_known(connection, kind, name))


def set_password(
    connection: Connection, name: str, *, secret: str, actor: str, now_ms: int
) -> None:
    """Give a user another password; all their sessions end.

    Raises:
        UnknownAccountError: there is no such user.
    """
    row = _known(connection, Kind.USER, name)
    connection.execute(update(accounts).where(accounts.c.id == row.id).values(secret=secret))
    connection.execute(delete(sessions).where(sessions.c.account_id == row.id))
    _log(connection, "password_changed", f"user {name}: another password", actor=actor,
         now_ms=now_ms, evidence={"name": name})  # fmt: skip


def remove_user(connection: Connection, name: str, *, actor: str, now_ms: int) -> None:
    """Remove a user; their sessions end.

    Raises:
        UnknownAccountError: there is no such user.
    """
    row = _known(connection, Kind.USER, name)
    connection.execute(delete(sessions).where(sessions.c.account_id == row.id))
    connection.execute(delete(accounts).where(accounts.c.id == row.id))
    _log(connection, "user_removed", f"user {name}: removed", actor=actor, now_ms=now_ms,
         evidence={"name": name})  # fmt: skip


def revoke_token(connection: Connection, name: str, *, actor: str, now_ms: int) -> AccountView:
    """A token counts no more, from now on; one that was revoked stays as it is.

    Raises:
        UnknownAccountError: there is no such token.
    """
    row = _known(connection, Kind.TOKEN, name)
    if row.revoked_ms is None:
        connection.execute(
            update(accounts).where(accounts.c.id == row.id).values(revoked_ms=now_ms)
        )
        _log(connection, "token_revoked", f"token {name}: revoked", actor=actor, now_ms=now_ms,
             evidence={"name": name})  # fmt: skip
    return find(connection, Kind.TOKEN, name)


def _check_room(connection: Connection) -> None:
    ids = connection.execute(select(accounts.c.id).limit(MAX_ACCOUNTS)).all()
    if len(ids) >= MAX_ACCOUNTS:
        raise AccountError(f"there are {MAX_ACCOUNTS:,} accounts already; remove some")


def _find(connection: Connection, kind: Kind, name: str, *, lock: bool = False) -> Row[Any] | None:
    query = select(accounts).where(accounts.c.kind == kind.value, accounts.c.name == name)
    return connection.execute(query.with_for_update() if lock else query).one_or_none()


def _known(connection: Connection, kind: Kind, name: str) -> Row[Any]:
    row = _find(connection, kind, name) if is_name(name) else None
    if row is None:
        raise UnknownAccountError(
            f"there is no {kind} {said(name)[:70]!r}; `edgeqa cloud {kind} list` shows all"
        )
    return row


def _view(row: Row[Any]) -> AccountView:
    return AccountView.model_validate(
        {name: getattr(row, name) for name in AccountView.model_fields}
    )


def _log(
    connection: Connection,
    action: str,
    message: str,
    *,
    actor: str,
    now_ms: int,
    evidence: dict[str, Any],
) -> None:
    decision = Decision(action=action, message=message, evidence=evidence, actor=actor)
    append(connection, decision, rollout=None, time_ms=now_ms)
