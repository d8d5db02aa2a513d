"""`Idempotency-Key`: a call that is sent again is answered as the first was, and not done again.

The key, and what was called, are written before the call is done, and its answer afterwards. Were
the process to end in between, nobody could say whether it was done: the key is refused from then
on, which is better than to do it twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import delete, func, select, update

from edgeqa_cloud.access.tables import idempotency
from edgeqa_cloud.api.problems import Problem
from edgeqa_cloud.bulk import Upsert
from edgeqa_cloud.database import Database

KEEP_MS = 86_400_000
# Of one account; beyond that the oldest are forgotten.
MAX_KEYS = 1000
MAX_KEY_CHARS = 128
# A call that takes longer has ended without a word.
UNDER_WAY_MS = 120_000
# A rollout's answer holds its spec; a larger answer is not kept, and its key refused from then on.
MAX_KEPT_CHARS = 8 << 20

_NEW = Upsert(
    idempotency, ("account", "key", "request", "made_ms"), key=("account", "key")
)  # fmt: skip
_KEPT_HEADERS = ("content-type", "etag", "location")


@dataclass(frozen=True, slots=True)
class Call:
    """One that carries a key.

    Attributes:
        request: SHA-256 of what is called.
    """

    account: str
    key: str
    request: str


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer, to be given again."""

    status: int
    headers: dict[str, str]
    body: bytes


class Idempotency:
    """The keys in the database. Thread: any."""

    def __init__(self, *, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    def begin(self, call: Call) -> Kept | None:
        """The answer that was given; None: do it now, and say `finish` or `forget`.

        Raises:
            Problem: the key is that of another call, or this one is under way.
            DBAPIError: the database is away; nothing was written.
        """
        now_ms = self._now_ms()
        with self._database.writing() as connection:
            mine = idempotency.c.account == call.account
            connection.execute(
                delete(idempotency).where(
                    mine, idempotency.c.key == call.key, idempotency.c.made_ms < now_ms - KEEP_MS
                )
            )
            if _NEW.run(connection, [(call.account, call.key, call.request, now_ms)]):
                count = connection.execute(
                    select(func.count()).select_from(idempotency).where(mine)
                ).scalar_one()
                if count > MAX_KEYS:
                    oldest = (
                        select(idempotency.c.key)
                        .where(mine, idempotency.c.key != call.key)
                        .order_by(idempotency.c.made_ms)
                        .limit(count - MAX_KEYS)
                    )
                    gone = list(connection.scalars(oldest))
                    connection.execute(delete(idempotency).where(mine, idempotency.c.key.in_(gone)))
                return None
            row = connection.execute(
                select(idempotency).where(mine, idempotency.c.key == call.key)
            ).one()
        if row.request != call.request:
            raise Problem(
                422, "key_reused",
                "this Idempotency-Key was sent with another request; use another key for each call",
            )  # fmt: skip
        if row.status is None:
            raise _unfinished(now_ms - row.made_ms)
        return Kept(row.status, json.loads(row.headers or "{}"), (row.body or "").encode())

    def finish(self, call: Call, answer: Kept) -> None:
        """It was done: keep its answer.

        Raises:
            DBAPIError: the database is away; the key is refused from then on.
        """
        body = answer.body.decode("utf-8", "replace")
        if len(body) > MAX_KEPT_CHARS:
            return
        headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
        with self._database.writing() as connection:
            connection.execute(
                update(idempotency)
                .where(idempotency.c.account == call.account, idempotency.c.key == call.key)
                .values(status=answer.status, headers=json.dumps(headers), body=body)
            )

    def forget(self, call: Call) -> None:
        """It was not done: the same key may do it later.

        Raises:
            DBAPIError: the database is away; the key is refused from then on.
        """
        with self._database.writing() as connection:
            connection.execute(
                delete(idempotency).where(
                    idempotency.c.account == call.account, idempotency.c.key == call.key
                )
            )

    def tidy(self) -> None:
        """Forget what is old.

        Raises:
            DBAPIError: the database is away.
        """
        with self._database.writing() as connection:
            connection.execute(
                delete(idempotency).where(idempotency.c.made_ms < self._now_ms() - KEEP_MS)
            )


def digest(method: str, target: str, if_match: str, body: bytes) -> str:
    """Of what is called."""
    head = json.dumps([method, target, if_match]).encode()
    return hashlib.sha256(hashlib.sha256(head).digest() + body).hexdigest()


def _unfinished(age_ms: int) -> Problem:
    if age_ms < UNDER_WAY_MS:
        return Problem(
            409, "under_way", "the first call with this Idempotency-Key is under way; try again",
            headers={"Retry-After": "1"},
        )  # fmt: skip
    return Problem(
        409,
        "outcome_unknown",
        "the cloud ended while it did the first call with this Idempotency-Key, so nobody can say "
        "whether it was done: look, and if it was not, call again with another key",
    )
