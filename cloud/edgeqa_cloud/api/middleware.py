"""What holds for every request: bounds, headers, and an answer whatever happens.

Plain ASGI, outermost first: `Guard` (headers, unexpected errors), `Bodies` (size and kind),
`Conditional` (ETags of what is read).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from edgeqa_cloud.api.problems import Problem, respond

API = "/api/"
# A rollout that names 100,000 devices.
MAX_BODY_BYTES = 8 << 20
# A larger answer goes out as it is made.
_MAX_TAGGED_BYTES = 4 << 20
_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# The time of the answer is no change of what it tells.
_NOW = re.compile(rb'"now_ms":\d+')
_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# A year; RFC 6797.
_HSTS = "max-age=31536000"


class Guard:
    """Headers of every answer; an answer where the application failed."""

    def __init__(self, app: ASGIApp, *, https: bool, log: FilteringBoundLogger) -> None:
        self._app = app
        self._log = log
        self._headers = {**HEADERS, **({"Strict-Transport-Security": _HSTS} if https else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith(API):
                    headers.setdefault("Cache-Control", "private, no-cache")
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        except Exception:
            self._log.exception("request_failed", method=scope["method"], path=scope["path"][:200])
            if begun:
                raise  # the connection is closed, so that nobody takes a part for the whole
            problem = Problem(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "internal_error",
                "something went wrong that should not; see the log of `edgeqa cloud run`",
            )
            await _told(scope, problem)(scope, receive, guarded)


class Bodies:
    """Bodies of requests: bounded, and JSON where the API takes them."""

    def __init__(self, app: ASGIApp, *, most_bytes: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        problem = self._refused(scope, headers)
        if problem is not None:
            await _told(scope, problem)(scope, receive, send)
            return
        taken = 0
        refused = False

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._most_bytes:
                raise _TooLargeError
            return message

        async def sent(message: Message) -> None:
            nonlocal refused
            # Whatever the application made of a body that it could not read to its end.
            if taken > self._most_bytes and message["type"] == "http.response.start":
                refused = True
                await respond(self._too_large())(scope, receive, send)
            if not refused:
                await send(message)

        try:
            await self._app(scope, bounded, sent)
        except _TooLargeError:
            if not refused:
                await respond(self._too_large())(scope, receive, send)

    def _refused(self, scope: Scope, headers: Headers) -> Problem | None:
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            return Problem(HTTPStatus.BAD_REQUEST, "bad_request", "Content-Length is no number")
        if int(length[:20]) > self._most_bytes:
            return self._too_large()
        has_body = length.strip("0") != "" or "transfer-encoding" in headers
        if scope["path"].startswith(API) and scope["method"] in _CHANGING and has_body:
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json" and not kind.endswith("+json"):
                return Problem(
                    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                    "unsupported_media_type",
                    "send JSON, and say so: `Content-Type: application/json`",
                )
        return None

    def _too_large(self) -> Problem:
        return Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_large",
            f"a request's body has at most {self._most_bytes:,} bytes",
        )


class _TooLargeError(Exception):
    """More came than was announced."""


class Conditional:
    """ETags of what is read at the API: who has it already is told so with 304."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        reads = scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}
        if not reads or not scope["path"].startswith(API):
            await self._app(scope, receive, send)
            return
        wanted = Headers(scope=scope).get("if-none-match")
        start: Message | None = None
        body: list[bytes] = []

        async def held(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                headers = Headers(raw=message["headers"])
                length = headers.get("content-length")
                whole = length is not None and int(length) <= _MAX_TAGGED_BYTES
                if message["status"] == HTTPStatus.OK and whole:
                    start = message
                    return
            elif start is not None and message["type"] == "http.response.body":
                body.append(message.get("body", b""))
                if not message.get("more_body", False):
                    await _answer(start, b"".join(body), wanted, send)
                return
            await send(message)

        await self._app(scope, receive, held)


async def _answer(start: Message, body: bytes, wanted: str | None, send: Send) -> None:
    headers = MutableHeaders(raw=start["headers"])
    tag = headers.get("etag")
    if tag is None:
        digest = hashlib.sha256(_NOW.sub(b"", body, count=1)).hexdigest()
        tag = f'W/"{digest[:32]}"'
        headers["ETag"] = tag
    if wanted is not None and _matches(wanted, tag):
        del headers["content-length"]
        if "content-type" in headers:
            del headers["content-type"]
        start = {**start, "status": HTTPStatus.NOT_MODIFIED.value}
        body = b""
    await send(start)
    await send({"type": "http.response.body", "body": body})


def _told(scope: Scope, problem: Problem) -> Response:
    """JSON for programs, a page for who looks at one."""
    if scope["path"].startswith(API):
        return respond(problem)
    from edgeqa_cloud.web.guard import refused_page  # noqa: PLC0415  pages import from here

    return refused_page(Request(scope), problem)


def _matches(wanted: str, tag: str) -> bool:
    """Weak comparison, RFC 9110, 8.8.3.2."""
    if wanted.strip() == "*":
        return True
    plain = tag.removeprefix("W/")
    return any(one.strip().removeprefix("W/") == plain for one in wanted.split(","))
