"""`/evaluations`: what all devices measured of their models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request, Response

from edgeqa_cloud.api.access import Viewer
from edgeqa_cloud.api.described import DEFAULT_PAGE, Cursor, Limit, Since, set_links, since_ms
from edgeqa_cloud.api.listing import EvaluationFilter, EvaluationPage, list_evaluations

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console


def router(console: Console) -> APIRouter:
    """The endpoint."""
    routes = APIRouter(tags=["evaluations"])

    @routes.get("/evaluations")
    def list_all_evaluations(
        *,
        _: Viewer,
        request: Request,
        response: Response,
        device: Annotated[str | None, Query(max_length=64, description="Only its own.")] = None,
        model: Annotated[
            str | None, Query(max_length=200, description="NAME, or NAME@VERSION.")
        ] = None,
        trigger: Annotated[str | None, Query(max_length=16, description="Why it was made.")] = None,
        fingerprint: Annotated[
            str | None, Query(max_length=64, description="Of the data set.")
        ] = None,
        since: Since = "30d",
        limit: Limit = DEFAULT_PAGE,
        cursor: Cursor = None,
    ) -> EvaluationPage:
        """EM and F1 that devices measured themselves, newest first."""
        which = EvaluationFilter(
            device=device or None, model=model or None, trigger=trigger or None,
            fingerprint=fingerprint or None, since_ms=since_ms(since, console.now_ms()),
        )  # fmt: skip
        with console.database.reading() as connection:
            page = list_evaluations(connection, which, limit=limit, cursor=cursor)
        if page.next:
            set_links(request, response, {"next": {"cursor": page.next}})
        return page

    return routes
