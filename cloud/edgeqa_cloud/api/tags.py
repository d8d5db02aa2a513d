"""Tags at the API: of one device, and of many at once.

The ETag of a device's tags stands for what they are: the same tags again have the same.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from edgeqa.messages import Name
from edgeqa_cloud.api.access import Operator, Viewer
from edgeqa_cloud.api.described import (
    CHANGING,
    DEFAULT_PAGE,
    READING,
    DeviceId,
    Limit,
    Offset,
    add_links,
    problems,
)
from edgeqa_cloud.api.problems import Problem
from edgeqa_cloud.rollout.spec import Target
from edgeqa_cloud.targets.resolve import UnknownDevicesError
from edgeqa_cloud.targets.tag_views import DeviceTags, TagChange, TagPage
from edgeqa_cloud.targets.tags import (
    MAX_TAGS,
    change_tags,
    read_tags,
    set_tags,
    tag_page,
)

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

_Tags = Annotated[list[Name], Field(max_length=MAX_TAGS)]


class TagsBody(BaseModel):
    """All tags that a device shall have."""

    model_config = ConfigDict(extra="forbid")

    tags: _Tags


class TagsChange(BaseModel):
    """Tags to give and to take."""

    model_config = ConfigDict(extra="forbid")

    target: Target = Field(description="Which devices.")
    add: _Tags = []
    remove: _Tags = []


def router(console: Console) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(tags=["tags"])
    _add_many(routes, console)
    _add_one(routes, console)
    return routes


def _add_many(routes: APIRouter, console: Console) -> None:
    @routes.get("/tags", responses=READING)
    def list_tags(
        _: Viewer,
        request: Request,
        response: Response,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> TagPage:
        """Tags in use, by name."""
        with console.database.reading() as connection:
            page = tag_page(connection, limit=limit, offset=offset)
        add_links(request, response, total=page.total, limit=limit, offset=offset)
        return page

    @routes.post("/tags", responses=CHANGING)
    def tag_devices(body: TagsChange, caller: Operator) -> TagChange:
        """Give tags to all devices of a target and take others; for all of them or for none."""
        with console.database.writing() as connection:
            return change_tags(
                connection,
                body.target,
                add=body.add,
                remove=body.remove,
                actor=caller.actor,
                now_ms=console.now_ms(),
            )


def _add_one(routes: APIRouter, console: Console) -> None:
    @routes.get("/devices/{device}/tags", responses={**READING, **problems(404)})
    def show_tags(device: DeviceId, _: Viewer, response: Response) -> DeviceTags:
        """Tags of a device."""
        try:
            with console.database.reading() as connection:
                found = read_tags(connection, device)
        except UnknownDevicesError as error:
            raise _unknown(error) from error
        response.headers["ETag"] = f'"{found.revision}"'
        return found

    @routes.put("/devices/{device}/tags", responses={**CHANGING, **problems(404, 412)})
    def replace_tags(
        device: DeviceId,
        body: TagsBody,
        caller: Operator,
        response: Response,
        if_match: Annotated[
            str | None, Header(max_length=200, description="The ETag that was seen.")
        ] = None,
    ) -> DeviceTags:
        """Give a device exactly these tags."""
        try:
            with console.database.writing() as connection:
                done = set_tags(
                    connection,
                    device,
                    body.tags,
                    actor=caller.actor,
                    now_ms=console.now_ms(),
                    revision=_revision(if_match),
                )
        except UnknownDevicesError as error:
            raise _unknown(error) from error
        if done is None:
            raise Problem(
                HTTPStatus.PRECONDITION_FAILED,
                "changed_meanwhile",
                "the tags are others than If-Match says; look at them again, then change them",
            )
        response.headers["ETag"] = f'"{done.revision}"'
        return done


def _revision(if_match: str | None) -> str | None:
    """What an `If-Match` names; None where any will do."""
    if if_match is None or if_match.strip() == "*":
        return None
    return if_match.strip().removeprefix("W/").strip('"')


def _unknown(error: UnknownDevicesError) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "unknown_device", str(error))
