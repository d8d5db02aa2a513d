"""The list of devices: searched, filtered, sorted, a page at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection, func, select

from edgeqa_cloud.device_filter import ALL_DEVICES
from edgeqa_cloud.queries import list_devices
from edgeqa_cloud.rollout.tables import device_tags
from edgeqa_cloud.summary import model_summaries
from edgeqa_cloud.tables import devices
from edgeqa_cloud.targets.columns import each_text
from edgeqa_cloud.targets.query import QueryError
from edgeqa_cloud.web.addresses import page_count
from edgeqa_cloud.web.device_list_state import PAGE_DEVICES, ListState
from edgeqa_cloud.web.guard import Viewer, is_live, is_refresh, page_router
from edgeqa_cloud.web.rendering import render

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

# Suggestions while typing; any other name can be typed too.
MAX_SUGGESTED = 200
_NO_CHOICES: dict[str, Any] = {"models": [], "groups": [], "tags": []}


def router(console: Console) -> APIRouter:
    """The page."""
    pages = page_router()

    @pages.get("/devices")
    def device_list(request: Request, caller: Viewer) -> Response:
        """A page of the list."""
        state = ListState.of(request.query_params)
        now_ms = console.now_ms()
        wrong = None
        try:
            which = state.filter()
        except QueryError as error:
            wrong, which = str(error), ALL_DEVICES
        with console.database.reading() as connection:
            page = list_devices(
                connection, now_ms=now_ms, which=which, sort=state.sort,
                descending=state.descending, limit=0 if wrong else PAGE_DEVICES,
                offset=state.offset,
            )  # fmt: skip
            # What can be chosen is outside of what is refreshed.
            choices = _NO_CHOICES if is_refresh(request) else _choices(connection, now_ms)
        return render(
            request, "devices.html", caller=caller, now_ms=now_ms, page="/devices", state=state,
            list=page, pages=page_count(page.total, PAGE_DEVICES), wrong=wrong,
            headers=_address(request, state),
            **choices,
        )  # fmt: skip

    return pages


def _address(request: Request, state: ListState) -> dict[str, str]:
    """A search leaves a short address; links have theirs, and a refresh changes none."""
    asked = is_refresh(request) and "hx-boosted" not in request.headers
    return {"HX-Replace-Url": state.address()} if asked and not is_live(request) else {}


def _choices(connection: Connection, now_ms: int) -> dict[str, Any]:
    groups = each_text(devices.c.groups)
    return {
        "models": model_summaries(connection, now_ms=now_ms)[:MAX_SUGGESTED],
        "groups": list(
            connection.scalars(
                select(groups.c.value)
                .select_from(devices.join(groups, onclause=devices.c.id.is_not(None)))
                .group_by(groups.c.value)
                .order_by(func.count().desc(), groups.c.value)
                .limit(MAX_SUGGESTED)
            )
        ),
        "tags": list(
            connection.scalars(
                select(device_tags.c.tag)
                .group_by(device_tags.c.tag)
                .order_by(func.count().desc(), device_tags.c.tag)
                .limit(MAX_SUGGESTED)
            )
        ),
    }
