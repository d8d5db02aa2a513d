"""The page of one device: what it is, what it measured, what happened to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from edgeqa.topics import is_name
from edgeqa_cloud.history import read_boots, read_evaluations, read_gaps, read_swaps
from edgeqa_cloud.queries import find_device
from edgeqa_cloud.rollout.filters import RolloutFilter
from edgeqa_cloud.web.guard import PageProblem, Viewer, page_router
from edgeqa_cloud.web.ranges import RANGES, chosen_range, range_choice
from edgeqa_cloud.web.rendering import render

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

# Rows of a table; the API has the rest.
MAX_ROWS = 50


def router(console: Console) -> APIRouter:
    """The page."""
    pages = page_router()

    @pages.get("/devices/{device}")
    def device_page(request: Request, caller: Viewer, device: str) -> Response:
        """All of one device."""
        values = device_values(console, request, device)
        return render(request, "device.html", caller=caller, **values)

    return pages


def device_values(console: Console, request: Request, device: str) -> dict[str, Any]:
    """What `device.html` shows.

    Raises:
        PageProblem: there is no such device.
    """
    now_ms = console.now_ms()
    chosen = chosen_range(request.query_params)
    path = f"/devices/{device}"
    with console.database.reading() as connection:
        found = find_device(connection, device, now_ms=now_ms) if is_name(device) else None
        if found is None:
            raise PageProblem(
                404,
                "There is no such device.",
                "Nothing has come from a device of this name; check how it is spelt, and that its "
                "agent reaches the broker.",
                code="unknown_device",
                back=("/devices", "All devices"),
            )
        key, view = found
        since_ms = now_ms - RANGES[chosen]
        rows = {
            "evaluations": read_evaluations(connection, key, since_ms=since_ms, limit=MAX_ROWS),
            "swaps": read_swaps(connection, key, since_ms=0, limit=MAX_ROWS),
            "gaps": read_gaps(connection, key, limit=MAX_ROWS),
            "boots": read_boots(connection, key, limit=MAX_ROWS),
        }
    return {
        "now_ms": now_ms,
        "page": "/devices",
        "path": path,
        "device": view,
        "rollouts": console.rollouts.list_rollouts(
            RolloutFilter(device=device), limit=MAX_ROWS
        ).rollouts,
        "ranges": range_choice(chosen, lambda one: f"{path}?range={one}#charts"),
        "history": f"/api/v1/devices/{device}/history?since={chosen}",
        "asked": None,
        "answered": None,
        **rows,
    }
