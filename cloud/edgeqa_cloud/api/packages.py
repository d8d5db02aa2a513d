"""Packages at the API: what may be rolled out, and reading the repository at once."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from edgeqa_cloud.api.access import Operator, Viewer
from edgeqa_cloud.api.described import (
    CHANGING,
    DEFAULT_PAGE,
    READING,
    Limit,
    Offset,
    add_links,
    problems,
)
from edgeqa_cloud.api.problems import Problem
from edgeqa_cloud.packages.catalogue import (
    PackageError,
    PackageFilter,
    catalogue_view,
    show_package,
)
from edgeqa_cloud.rollout.views import CatalogueView, PackageView

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

# Whoever asks for a reading waits for it so long: a repository that answers is read in that time.
_PATIENCE_S = 8.0

Part = Annotated[str, Path(max_length=64)]


def router(console: Console) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(prefix="/packages", tags=["packages"])

    @routes.get("", responses=READING)
    def list_packages(
        *,
        _: Viewer,
        name: Annotated[str | None, Query(max_length=64, description="Only of this name.")] = None,
        offered: Annotated[
            bool | None, Query(description="Only those that are, or are not, offered now.")
        ] = None,
        request: Request,
        response: Response,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> CatalogueView:
        """The signed repository as last read, and its packages; those offered now come first."""
        which = PackageFilter(name=name, offered=offered)
        with console.database.reading() as connection:
            view = catalogue_view(connection, which=which, limit=limit, offset=offset)
        add_links(request, response, total=view.total, limit=limit, offset=offset)
        return view

    @routes.get("/{name}/{version}", responses={**READING, **problems(404)})
    def show_one(_: Viewer, name: Part, version: Part) -> PackageView:
        """A package with its score cards, offered or gone."""
        try:
            with console.database.reading() as connection:
                return show_package(connection, name, version)
        except PackageError as error:
            raise Problem(HTTPStatus.NOT_FOUND, error.code, str(error)) from error

    @routes.post(
        "/refresh",
        responses={
            HTTPStatus.ACCEPTED: {"model": CatalogueView, "description": "It is still under way."},
            **CHANGING,
        },
    )
    def refresh_packages(_: Operator, response: Response) -> CatalogueView:
        """Read the repository now."""
        if console.catalogue is None:
            raise Problem(
                HTTPStatus.CONFLICT,
                "repository_unread",
                "this process reads no repository: set `repository` and `repository_root`, or ask "
                "the one that does",
            )
        if not console.catalogue.refresh(timeout_s=_PATIENCE_S):
            response.status_code = HTTPStatus.ACCEPTED
        with console.database.reading() as connection:
            return catalogue_view(connection)

    return routes
