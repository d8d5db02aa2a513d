"""The packages that can be rolled out: what their score cards say, who runs them, and how the
repository is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from edgeqa_cloud.packages.catalogue import catalogue_view
from edgeqa_cloud.web.addresses import page_count, page_number
from edgeqa_cloud.web.guard import Operator, Viewer, is_refresh, page_router
from edgeqa_cloud.web.notices import Notice
from edgeqa_cloud.web.rendering import render
from edgeqa_cloud.web.score_cards import architecture_words, score_cards

if TYPE_CHECKING:
    from edgeqa_cloud.api.access import Caller
    from edgeqa_cloud.api.parts import Console

PAGE_PACKAGES = 20
# A repository that answers is read in that time; one that does not must not hold a person up.
_PATIENCE_S = 8.0
_PATH = "/packages"


def router(console: Console) -> APIRouter:
    """The page, and its button."""
    pages = page_router()

    @pages.get(_PATH)
    def package_list(request: Request, caller: Viewer) -> Response:
        """All packages."""
        return _page(console, request, caller)

    @pages.post("/packages/refresh")
    def refresh(request: Request, caller: Operator) -> Response:
        """Read the repository now."""
        notice = _read(console)
        if not is_refresh(request) and notice.tone != "bad":
            return RedirectResponse(_PATH, status_code=303)
        return _page(console, request, caller, notice)

    return pages


def _read(console: Console) -> Notice:
    if console.catalogue is None:
        return Notice(
            "bad", "This process reads no repository.",
            "Set `repository` and `repository_root` of `edgeqa cloud run`; where another process "
            "reads it, what it read is shown here.",
            "repository_unread",
        )  # fmt: skip
    if not console.catalogue.refresh(timeout_s=_PATIENCE_S):
        return Notice("info", "The repository is being read.", "The page shows what came of it.")
    return Notice("ok", "The repository was read.")


def _page(
    console: Console, request: Request, caller: Caller, notice: Notice | None = None
) -> Response:
    number = page_number(request.query_params)
    with console.database.reading() as connection:
        found = catalogue_view(connection, limit=PAGE_PACKAGES, offset=(number - 1) * PAGE_PACKAGES)
    now_ms = console.now_ms()
    if notice is not None and notice.tone == "ok" and found.code is not None:
        notice = None  # what went wrong stands on the page already
    values: dict[str, Any] = {
        "catalogue": found,
        "notice": notice,
        "expired": found.expires_ms is not None and found.expires_ms <= now_ms,
        "cards": score_cards,
        "architecture": architecture_words,
        "number": number,
        "page_address": lambda page: f"{_PATH}?page={page}",
        "pages": page_count(found.total, PAGE_PACKAGES),
    }
    return render(request, "packages.html", caller=caller, now_ms=now_ms, page=_PATH, **values)
