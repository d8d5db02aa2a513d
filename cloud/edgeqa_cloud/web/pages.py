"""All pages: what is at `/` beside the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, HTTPException, Request, Response

from edgeqa_cloud.web.rendering import assets, render

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

__all__ = ["render", "router"]


def router(console: Console) -> APIRouter:
    """Pages and their files.

    Args:
        console: what they read from.
    """
    pages = APIRouter(include_in_schema=False)

    @pages.get("/static/{version}/{name:path}")
    def static(request: Request, version: str, name: str) -> Response:
        """A file that a page refers to."""
        response = assets().respond(request, version, name)
        if response is None:
            raise HTTPException(404)
        return response

    @pages.get("/login")
    def login(request: Request) -> Response:
        """The form, for now."""
        return render(
            request, "login.html", next="/", name="", error=None, expired=False,
            now_ms=console.now_ms(),
        )  # fmt: skip

    return pages
