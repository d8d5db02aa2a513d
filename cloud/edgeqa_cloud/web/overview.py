"""The overview: the fleet in figures, what needs a person, what is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from edgeqa_cloud.rollout.filters import RolloutFilter
from edgeqa_cloud.rollout.states import RolloutState
from edgeqa_cloud.web.guard import Viewer, page_router
from edgeqa_cloud.web.ranges import chosen_range, range_choice
from edgeqa_cloud.web.rendering import render

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

# Of each list; the pages that they lead to have all.
MAX_SHOWN = 10
_ACTIVE = RolloutFilter(states=frozenset(one for one in RolloutState if not one.final))


def router(console: Console) -> APIRouter:
    """The page."""
    pages = page_router()

    @pages.get("/")
    def overview(request: Request, caller: Viewer) -> Response:
        """The fleet in figures."""
        now_ms = console.now_ms()
        chosen = chosen_range(request.query_params)
        return render(
            request, "overview.html", caller=caller, now_ms=now_ms, page="/",
            fleet=console.figures.summary(), alarms=console.figures.alarms().alarms,
            active=console.rollouts.list_rollouts(_ACTIVE, limit=MAX_SHOWN).rollouts,
            decisions=console.rollouts.audit(limit=MAX_SHOWN).entries,
            ranges=range_choice(chosen, lambda one: f"/?range={one}#charts"),
            history=f"/api/v1/fleet/history?since={chosen}",
        )  # fmt: skip

    return pages
