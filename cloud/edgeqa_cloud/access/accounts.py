"""Who asks, found by a token, a session or a password.

A request is answered with one statement that reads. When an account was last used is remembered
here, and written now and then (`tidy`), so that looking never waits for whoever writes.

Thread: any; each call has a transaction of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, select, update

from edgeqa.errors import EdgeqaError, ExitCode
from edgeqa.topics import is_name
from edgeqa_cloud.access.roles import Caller, Kind, Role
from edgeqa_cloud.access.secrets_at_rest import (
    MAX_PASSWORD_CHARS,
    is_kept,
    is_password,
    kept,
    new_session,
    nobodys_password,
)
from edgeqa_cloud.access.tables import accounts, sessions
from edgeqa_cloud.access.throttle import Throttle
from edgeqa_cloud.database import Database

# Each takes 16 MiB and some tenths of a second of a processor.
_PASSWORDS_AT_ONCE = 2
# Of one user; the oldest end.
MAX_SESSIONS = 50
# What is remembered of accounts that were used since the last `tidy`.
_MAX_USED = 10_000


class LoginError(EdgeqaError):
    """The name and the password are not those of a user; not which of them is wrong."""

    code = "bad_login"
    exit_code = ExitCode.REFUSED

    def __init__(self) -> None:
        super().__init__("the name or the password is wrong")


class ThrottledError(EdgeqaError):
    """Too many tries failed.

    Attributes:
        wait_s: before the next one.
    """

    code = "too_many_tries"
    exit_code = ExitCode.UNREACHABLE

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__(f"too many tries failed; try again in {max(1, round(wait_s))} s")


@dataclass(frozen=True, slots=True)
class Session:
    """A login: the secret is for the browser's cookie alone."""

    secret: str
    caller: Caller
    expires_ms: int


class Accounts:
    """Who may do what.

    Args:
        database: migrated.
        now_ms: our clock.
        session_hours: how long a login lasts.
        monotonic: for waiting after failures.
    """

    def __init__(
        self,
        *,
        database: Database,
        now_ms: Callable[[], int],
        session_hours: float = 12.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._now_ms = now_ms
        self._session_ms = round(session_hours * 3_600_000)
        self._throttle = Throttle(monotonic=monotonic)
        self._hashing = threading.BoundedSemaphore(_PASSWORDS_AT_ONCE)
        self._used_lock = threading.Lock()
        self._used: dict[int, int] = {}

    def of_token(self, token: str) -> Caller | None:
        """Whose token that is; None: nobody's, or it counts no more.

        Raises:
            DBAPIError: the database is away.
        """
        query = select(accounts).where(
            accounts.c.secret == kept(token), accounts.c.kind == Kind.TOKEN.value
        )
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        if row is None or not is_kept(token, row.secret) or not self._counts(row):
            return None
        return self._caller(row, expires_ms=row.expires_ms)

    def of_session(self, secret: str) -> Caller | None:
        """Whose login that is; None: nobody's, or it has ended.

        Raises:
            DBAPIError: the database is away.
        """
        query = (
            select(accounts, sessions.c.expires_ms.label("ends_ms"), sessions.c.secret.label("of"))
            .join(sessions, sessions.c.account_id == accounts.c.id)
            .where(sessions.c.secret == kept(secret))
        )
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        if row is None or not is_kept(secret, row.of) or row.ends_ms <= self._now_ms():
            return None
        if not self._counts(row):
            return None
        return self._caller(row, expires_ms=row.ends_ms, by_cookie=True)

    def login(self, name: str, password: str, *, address: str) -> Session:
        """Begin a session.

        Args:
            address: from where.

        Raises:
            LoginError: the name or the password is wrong.
            ThrottledError: too many tries of this name, or from there, failed.
            DBAPIError: the database is away.
        """
        keys = (f"name {name[:100]}", f"address {address}")
        if (wait_s := self._throttle.wait_s(keys)) > 0:
            raise ThrottledError(wait_s)
        row = self._user(name)
        # For a name that nobody has, the same work as for one that somebody has.
        stored = nobodys_password() if row is None else row.secret
        with self._hashing:
            right = is_password(password[: MAX_PASSWORD_CHARS + 1], stored)
        if row is None or not right or not self._counts(row):
            self._throttle.failed(keys)
            raise LoginError
        self._throttle.succeeded(keys[:1])
        return self._begin(row)

    def logout(self, secret: str) -> None:
        """End a session; no error if there is none.

        Raises:
            DBAPIError: the database is away.
        """
        with self._database.writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.secret == kept(secret)))

    def tidy(self) -> None:
        """Write down who was used, and delete sessions that ended.

        Raises:
            DBAPIError: the database is away; what was remembered is kept.
        """
        with self._used_lock:
            used = dict(self._used)
        with self._database.writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.expires_ms <= self._now_ms()))
            if used:
                connection.execute(
                    update(accounts)
                    .where(accounts.c.id == bindparam("key"))
                    .values(last_used_ms=bindparam("at_ms")),
                    [{"key": key, "at_ms": at_ms} for key, at_ms in sorted(used.items())],
                )
        with self._used_lock:
            for key, at_ms in used.items():
                if self._used.get(key) == at_ms:
                    del self._used[key]

    def _user(self, name: str) -> Row[Any] | None:
        if not is_name(name):
            return None
        query = select(accounts).where(accounts.c.kind == Kind.USER.value, accounts.c.name == name)
        with self._database.reading() as connection:
            return connection.execute(query).first()

    def _begin(self, row: Row[Any]) -> Session:
        secret, now_ms = new_session(), self._now_ms()
        ends_ms = now_ms + self._session_ms
        mine = sessions.c.account_id == row.id
        with self._database.writing() as connection:
            newest = (
                select(sessions.c.secret)
                .where(mine)
                .order_by(sessions.c.created_ms.desc())
                .limit(MAX_SESSIONS - 1)
            )
            keep = list(connection.scalars(newest))
            connection.execute(delete(sessions).where(mine, sessions.c.secret.not_in(keep)))
            connection.execute(
                insert(sessions).values(
                    secret=kept(secret), account_id=row.id, created_ms=now_ms, expires_ms=ends_ms
                )
            )
        return Session(secret, self._caller(row, expires_ms=ends_ms, by_cookie=True), ends_ms)

    def _counts(self, row: Row[Any]) -> bool:
        now_ms = self._now_ms()
        return row.revoked_ms is None and (row.expires_ms is None or row.expires_ms > now_ms)

    def _caller(self, row: Row[Any], *, expires_ms: int | None, by_cookie: bool = False) -> Caller:
        with self._used_lock:
            if row.id in self._used or len(self._used) < _MAX_USED:
                self._used[row.id] = self._now_ms()
        return Caller(
            account_id=row.id,
            name=row.name,
            kind=Kind(row.kind),
            role=Role(row.role),
            expires_ms=expires_ms,
            by_cookie=by_cookie,
        )
