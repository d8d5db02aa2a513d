"""The audit log: every decision and every order, with what it was based on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from edgeqa_cloud.web.addresses import page_count
from edgeqa_cloud.web.audit_state import PAGE_ENTRIES, PATH, AuditState
from edgeqa_cloud.web.evidence import evidence_text
from edgeqa_cloud.web.guard import Viewer, is_live, is_refresh, page_router
from edgeqa_cloud.web.rendering import render

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console


def router(console: Console) -> APIRouter:
    """The page."""
    pages = page_router()

    @pages.get(PATH)
    def audit_log(request: Request, caller: Viewer) -> Response:
        """A page of the log."""
        state = AuditState.of(request.query_params)
        found = console.rollouts.audit(state.filter(), limit=PAGE_ENTRIES, offset=state.offset)
        asked = is_refresh(request) and "hx-boosted" not in request.headers
        return render(
            request, "audit.html", caller=caller, now_ms=console.now_ms(), page=PATH, state=state,
            found=found, pages=page_count(found.total, PAGE_ENTRIES), evidence_text=evidence_text,
            headers={"HX-Replace-Url": state.address()} if asked and not is_live(request) else None,
        )  # fmt: skip

    return pages
