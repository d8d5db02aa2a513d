"""All pages: what is at `/` beside the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from edgeqa_cloud.web import (
    audit,
    device,
    device_forms,
    devices,
    login,
    overview,
    packages,
    rollout,
    rollout_new,
    rollouts,
)
from edgeqa_cloud.web.guard import PageProblem, page_router
from edgeqa_cloud.web.rendering import assets, render

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

__all__ = ["render", "router"]


def router(console: Console) -> APIRouter:
    """Pages and their files.

    Args:
        console: what they read from.
    """
    pages = page_router()

    @pages.get("/static/{version}/{name:path}")
    def static(request: Request, version: str, name: str) -> Response:
        """A file that a page refers to."""
        response = assets().respond(request, version, name)
        if response is None:
            raise PageProblem(404, "There is no such file.", "Load the page that led here anew.")
        return response

    # `new` before the id of a rollout.
    for part in (
        login, overview, devices, device, device_forms, rollout_new, rollouts, rollout, packages,
        audit,
    ):  # fmt: skip
        pages.include_router(part.router(console))
    return pages
