"""`/devices`: the fleet a page at a time, and all of one device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field
from sqlalchemy import Connection

from edgeqa.telemetry_messages import RecordKind
from edgeqa_cloud.api.access import Viewer
from edgeqa_cloud.api.described import (
    DEFAULT_PAGE,
    Cursor,
    DeviceId,
    Limit,
    Offset,
    Since,
    add_links,
    problems,
    set_links,
    since_ms,
)
from edgeqa_cloud.api.listing import (
    EvaluationFilter,
    EvaluationPage,
    RecordPage,
    list_evaluations,
    list_records,
)
from edgeqa_cloud.api.problems import Problem
from edgeqa_cloud.device_filter import DeviceFilter, DeviceSort
from edgeqa_cloud.fleet_views import (
    DeviceHistory,
    DevicePage,
    DeviceView,
    ServingPoint,
    SwapView,
    View,
)
from edgeqa_cloud.history import device_history, read_swaps
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.queries import find_device, list_devices
from edgeqa_cloud.serving_history import read_serving
from edgeqa_cloud.targets.query import parse

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

_ABOUT_QUERY = "A query over devices, see docs/targets.md, such as `model=minilm memory>=4`."


class ServingHistory(View):
    """How a device served over a span of time."""

    since_ms: int
    until_ms: int
    step_ms: int = Field(description="Length of the spans in `serving`.")
    serving: list[ServingPoint] = Field(description="Oldest first; spans without records absent.")
    total: ServingPoint | None = Field(description="All of `serving` added up.")


class SwapList(View):
    """Ends of swaps of a device, newest first."""

    swaps: list[SwapView]


def device_filter(
    *,
    presence: Annotated[list[Presence] | None, Query(description="One of these.")] = None,
    model: Annotated[
        str | None, Query(max_length=200, description="That it runs: NAME, or NAME@VERSION.")
    ] = None,
    group: Annotated[str | None, Query(max_length=64, description="That it is in.")] = None,
    tag: Annotated[str | None, Query(max_length=64, description="That it has.")] = None,
    text: Annotated[
        str | None,
        Query(max_length=200, description="Part of its id, its board or its model's name."),
    ] = None,
    query: Annotated[str | None, Query(max_length=2000, description=_ABOUT_QUERY)] = None,
) -> DeviceFilter:
    """From a query; devices of which all of it holds."""
    return DeviceFilter(
        presence=frozenset(presence) if presence else None,
        model=model or None,
        group=group or None,
        tag=tag or None,
        text=text or None,
        query=parse(query) if query and query.strip() else None,
    )


def router(console: Console) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(prefix="/devices", tags=["devices"])
    _add_lists(routes, console)
    _add_history(routes, console)
    _add_records(routes, console)
    return routes


def known(connection: Connection, device: str, now_ms: int) -> tuple[int, DeviceView]:
    """A device by its id.

    Raises:
        Problem: `unknown_device`.
    """
    found = find_device(connection, device, now_ms=now_ms)
    if found is None:
        raise unknown_device()
    return found


def unknown_device() -> Problem:
    """There is no such device."""
    return Problem(
        404,
        "unknown_device",
        "nothing has come from a device of this name; `GET /api/v1/devices` lists all",
    )


def _add_lists(routes: APIRouter, console: Console) -> None:
    @routes.get("")
    def list_all_devices(
        *,
        _: Viewer,
        request: Request,
        response: Response,
        which: Annotated[DeviceFilter, Depends(device_filter)],
        sort: Annotated[DeviceSort, Query(description="Unknown values last.")] = DeviceSort.DEVICE,
        descending: Annotated[bool, Query(description="Largest first.")] = False,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> DevicePage:
        """Devices, a page at a time, with counts by presence of all that the filters let through.

        Devices that are alike in what is sorted by come in the order of their ids.
        """
        with console.database.reading() as connection:
            page = list_devices(
                connection, now_ms=console.now_ms(), which=which, sort=sort,
                descending=descending, limit=limit, offset=offset,
            )  # fmt: skip
        add_links(request, response, total=page.total, limit=limit, offset=offset)
        return page

    @routes.get("/{device}", responses=problems(404))
    def show_device(_: Viewer, device: DeviceId) -> DeviceView:
        """One device as it is now."""
        with console.database.reading() as connection:
            return known(connection, device, console.now_ms())[1]


def _add_history(routes: APIRouter, console: Console) -> None:
    @routes.get("/{device}/history", responses=problems(404))
    def show_history(_: Viewer, device: DeviceId, since: Since = "24h") -> DeviceHistory:
        """A device's serving, evaluations, swaps, gaps and starts: all that its page shows."""
        now_ms = console.now_ms()
        with console.database.reading() as connection:
            found = device_history(
                connection, device, since_ms=since_ms(since, now_ms), now_ms=now_ms
            )
        if found is None:
            raise unknown_device()
        return found

    @routes.get("/{device}/serving", responses=problems(404))
    def show_serving(_: Viewer, device: DeviceId, since: Since = "24h") -> ServingHistory:
        """Latency percentiles, questions, temperature and memory, in at most 120 steps.

        From records where the span is short, from hourly and daily roll-ups where it is long.
        """
        until_ms = console.now_ms()
        from_ms = since_ms(since, until_ms)
        with console.database.reading() as connection:
            key, _view = known(connection, device, until_ms)
            step_ms, serving, total = read_serving(
                connection, key, since_ms=from_ms, until_ms=until_ms
            )
        return ServingHistory(
            since_ms=from_ms, until_ms=until_ms, step_ms=step_ms, serving=serving, total=total
        )

    @routes.get("/{device}/swaps", responses=problems(404))
    def list_swaps(
        _: Viewer, device: DeviceId, since: Since = "365d", limit: Limit = DEFAULT_PAGE
    ) -> SwapList:
        """How its changes of model ended."""
        now_ms = console.now_ms()
        with console.database.reading() as connection:
            key, _view = known(connection, device, now_ms)
            from_ms = since_ms(since, now_ms)
            return SwapList(swaps=read_swaps(connection, key, since_ms=from_ms, limit=limit))


def _add_records(routes: APIRouter, console: Console) -> None:
    @routes.get("/{device}/evaluations", responses=problems(404))
    def list_device_evaluations(
        *,
        _: Viewer,
        request: Request,
        response: Response,
        device: DeviceId,
        since: Since = "365d",
        limit: Limit = DEFAULT_PAGE,
        cursor: Cursor = None,
    ) -> EvaluationPage:
        """EM and F1 that the device measured itself, with intervals, newest first."""
        now_ms = console.now_ms()
        with console.database.reading() as connection:
            key, _view = known(connection, device, now_ms)
            which = EvaluationFilter(device_id=key, since_ms=since_ms(since, now_ms))
            page = list_evaluations(connection, which, limit=limit, cursor=cursor)
        if page.next:
            set_links(request, response, {"next": {"cursor": page.next}})
        return page

    @routes.get("/{device}/telemetry", responses=problems(404))
    def list_telemetry(
        *,
        _: Viewer,
        request: Request,
        response: Response,
        device: DeviceId,
        kind: Annotated[
            RecordKind | Literal["quarantined"] | None, Query(description="Only these.")
        ] = RecordKind.TELEMETRY,
        since: Since = "24h",
        limit: Limit = DEFAULT_PAGE,
        cursor: Cursor = None,
    ) -> RecordPage:
        """Its records as they came, newest first; kept for `raw_keep_days`."""
        now_ms = console.now_ms()
        with console.database.reading() as connection:
            key, _view = known(connection, device, now_ms)
            page = list_records(
                connection, key, kind=kind, since_ms=since_ms(since, now_ms), limit=limit,
                cursor=cursor,
            )  # fmt: skip
        if page.next:
            set_links(request, response, {"next": {"cursor": page.next}})
        return page
