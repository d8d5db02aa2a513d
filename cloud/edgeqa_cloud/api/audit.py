"""`/audit`: every decision and order, with its evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request, Response

from edgeqa_cloud.api.access import Viewer
from edgeqa_cloud.api.described import DEFAULT_PAGE, Limit, Offset, Since, add_links, since_ms
from edgeqa_cloud.rollout.filters import AuditFilter
from edgeqa_cloud.rollout.views import AuditPage

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console


def router(console: Console) -> APIRouter:
    """The endpoint."""
    routes = APIRouter(tags=["audit"])

    @routes.get("/audit")
    def list_audit_log(
        *,
        _: Viewer,
        request: Request,
        response: Response,
        rollout: Annotated[str | None, Query(max_length=64)] = None,
        device: Annotated[str | None, Query(max_length=64)] = None,
        actor: Annotated[
            str | None, Query(max_length=128, description="`engine`, `user:anna`, `token:ci`.")
        ] = None,
        action: Annotated[
            str | None, Query(max_length=64, description="Such as `gate_breached`.")
        ] = None,
        text: Annotated[
            str | None, Query(max_length=200, description="Part of the message.")
        ] = None,
        since: Annotated[Since | None, Query()] = None,
        until: Annotated[Since | None, Query(description="Older than that.")] = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> AuditPage:
        """What was decided and ordered, by whom and why, newest first."""
        now_ms = console.now_ms()
        which = AuditFilter(
            rollout=rollout or None, device=device or None, actor=actor or None,
            action=action or None, text=text or None,
            since_ms=None if since is None else since_ms(since, now_ms),
            until_ms=None if until is None else since_ms(until, now_ms),
        )  # fmt: skip
        page = console.rollouts.audit(which, limit=limit, offset=offset)
        add_links(request, response, total=page.total, limit=limit, offset=offset)
        return page

    return routes
