"""Requests with an `Idempotency-Key`, taken and answered once: the HTTP side of `idempotency`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgeqa_cloud.api.access import identify
from edgeqa_cloud.api.idempotency import MAX_KEY_CHARS, Call, Idempotency, Kept, digest
from edgeqa_cloud.api.problems import Problem, database_away, respond

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# Answers with secrets, which must not be kept.
_NOT_KEPT = ("/api/v1/tokens", "/api/v1/users", "/api/v1/session")
# Nothing was done, and the same call may do something later.
_NOTHING_DONE = frozenset({401, 403, 413, 415, 421, 429})
_SERVER_ERRORS = 500


class Repeats:
    """Plain ASGI, around the API's endpoints."""

    def __init__(self, app: ASGIApp, *, console: Console, keys: Idempotency) -> None:
        self._app = app
        self._console = console
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        key = self._key(scope)
        if key is None:
            await self._app(scope, receive, send)
            return
        try:
            body = await _whole(receive)
            call = await run_in_threadpool(self._call, scope, key, body)
            kept = None if call is None else await run_in_threadpool(self._keys.begin, call)
        except Problem as problem:
            await respond(problem)(scope, receive, send)
            return
        except (DBAPIError, PoolTimeoutError):
            await respond(database_away())(scope, receive, send)
            return
        if kept is not None:
            again = Response(kept.body, status_code=kept.status, headers=kept.headers)
            again.headers["Idempotent-Replayed"] = "true"
            await again(scope, receive, send)
        elif call is None:
            await self._app(scope, _replayed(body, receive), send)
        else:
            await self._do(call, scope, _replayed(body, receive), send)

    def _key(self, scope: Scope) -> str | None:
        if scope["type"] != "http" or scope["method"] not in _METHODS:
            return None
        if not scope["path"].startswith("/api/") or scope["path"].startswith(_NOT_KEPT):
            return None
        return Headers(scope=scope).get("idempotency-key")

    def _call(self, scope: Scope, key: str, body: bytes) -> Call | None:
        if not (0 < len(key) <= MAX_KEY_CHARS and key.isascii() and key.isprintable()):
            raise Problem(
                422, "bad_key", f"Idempotency-Key: 1 to {MAX_KEY_CHARS} printable ASCII characters"
            )
        caller = identify(Request(scope))
        if caller is None:
            return None  # the endpoint refuses it
        target = scope["path"] + "?" + scope["query_string"].decode("latin-1")
        if_match = Headers(scope=scope).get("if-match", "")
        return Call(caller.actor, key, digest(scope["method"], target, if_match, body))

    async def _do(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        messages: list[Message] = []

        async def held(message: Message) -> None:
            messages.append(message)

        try:
            await self._app(scope, receive, held)
        except BaseException:
            await self._settle(call, None)
            raise
        await self._settle(call, _answer(messages))
        for message in messages:
            await send(message)

    async def _settle(self, call: Call, answer: Kept | None) -> None:
        # If the database is away now, what was done was done; the key is refused from then on.
        with contextlib.suppress(DBAPIError, PoolTimeoutError):
            if answer is None or _not_done(answer.status):
                await run_in_threadpool(self._keys.forget, call)
            else:
                await run_in_threadpool(self._keys.finish, call, answer)


def _not_done(status: int) -> bool:
    return status >= _SERVER_ERRORS or status in _NOTHING_DONE


def _answer(messages: list[Message]) -> Kept:
    start = next(one for one in messages if one["type"] == "http.response.start")
    body = b"".join(one.get("body", b"") for one in messages if one["type"] == "http.response.body")
    return Kept(start["status"], dict(Headers(raw=start["headers"]).items()), body)


async def _whole(receive: Receive) -> bytes:
    """The body; `Bodies` bounds it."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
