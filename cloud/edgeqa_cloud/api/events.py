"""`/events`: what changes, as it changes, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from edgeqa_cloud.api.access import Caller, Viewer, identify
from edgeqa_cloud.api.described import problems
from edgeqa_cloud.api.problems import Problem

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

# Proxies close what is silent for a minute, and a login that ended is noticed in this time.
HEARTBEAT_S = 15.0
# For a browser to come back.
_RETRY_MS = 2000
_EXAMPLE = 'id: 5f3a91c0-7\nevent: rollout\ndata: {"rollout":"r-20261125-a1b2c3","revision":7}\n\n'


def router(console: Console) -> APIRouter:
    """The endpoint."""
    routes = APIRouter(tags=["events"])

    @routes.get(
        "/events",
        response_class=StreamingResponse,
        responses={
            200: {"description": "Without end.", "content": {"text/event-stream": {
                "schema": {"type": "string"}, "example": _EXAMPLE}}},
            **problems(401, 421, 503),
        },
    )  # fmt: skip
    async def follow_events(
        request: Request,
        caller: Viewer,
        last_event_id: Annotated[
            str | None,
            Header(max_length=100, description="Of who comes back: go on behind that one."),
        ] = None,
    ) -> StreamingResponse:
        """What changes, whichever process changed it.

        `event:` is `fleet`, `device`, `rollout`, `audit` or `packages`, and means: look again. The
        data names what changed as far as that is few. Who misses events, because they read too
        slowly or come back too late, gets one of each kind with `{"missed": true}`. A comment comes
        every 15 s. The stream ends when the login or the token does.
        """
        listening = console.changes.listening(account=caller.actor, after=last_event_id)
        listener = listening.__enter__()  # refused here, while a status can still say so

        async def stream() -> AsyncIterator[bytes]:
            yield f"retry: {_RETRY_MS}\n\n".encode()
            while not (listener.closed or console.changes.stopped):
                events = await listener.take(HEARTBEAT_S)
                yield b"".join(one.text(console.changes.epoch) for one in events) or b":\n\n"
                if not events and not await run_in_threadpool(_still, request, caller):
                    return

        return _EventStream(stream(), leave=lambda: listening.__exit__(None, None, None))

    return routes


class _EventStream(StreamingResponse):
    """Ends with its connection, whether or not anything was sent."""

    def __init__(self, stream: AsyncIterator[bytes], *, leave: Callable[[], object]) -> None:
        super().__init__(
            stream,
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


def _still(request: Request, caller: Caller) -> bool:
    """Whether who listens still may."""
    try:
        now = identify(request)
    except (DBAPIError, PoolTimeoutError):
        return True  # nobody knows; they hear nothing meanwhile
    except Problem:
        return False
    return now is not None and now.account_id == caller.account_id
