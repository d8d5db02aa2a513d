"""The list of rollouts: those under way first, then those that are over, a page at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from edgeqa_cloud.rollout.filters import RolloutFilter
from edgeqa_cloud.rollout.states import RolloutState
from edgeqa_cloud.rollout.views import RolloutPage
from edgeqa_cloud.web.addresses import page_count
from edgeqa_cloud.web.guard import Viewer, is_live, is_refresh, page_router
from edgeqa_cloud.web.rendering import render
from edgeqa_cloud.web.rollout_state import PAGE_ROWS, RolloutsState

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

# Under way at once: more of them are found by the filters.
MAX_ACTIVE = 100
_NONE = RolloutPage(total=0, rollouts=[])


def router(console: Console) -> APIRouter:
    """The page."""
    pages = page_router()

    @pages.get("/rollouts")
    def rollout_list(request: Request, caller: Viewer) -> Response:
        """A page of the list."""
        state = RolloutsState.of(request.query_params)
        active = _read(console, state.filter(final=False), limit=MAX_ACTIVE)
        over = _read(console, state.filter(final=True), limit=PAGE_ROWS, offset=state.offset)
        asked = is_refresh(request) and "hx-boosted" not in request.headers
        return render(
            request, "rollouts.html", caller=caller, now_ms=console.now_ms(), page="/rollouts",
            state=state, active=active, over=over, pages=page_count(over.total, PAGE_ROWS),
            states=list(RolloutState),
            headers={"HX-Replace-Url": state.address()} if asked and not is_live(request) else None,
        )  # fmt: skip

    return pages


def _read(
    console: Console, which: RolloutFilter | None, *, limit: int, offset: int = 0
) -> RolloutPage:
    if which is None:
        return _NONE
    return console.rollouts.list_rollouts(which, limit=limit, offset=offset)
