"""Rollouts at the API: create, plan, look, order.

A rollout's ETag is its revision. An order with `If-Match` is refused with 412 where the rollout
changed since; without it, it is for whatever the rollout is now.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from edgeqa_cloud.api.access import Operator, Viewer
from edgeqa_cloud.api.described import (
    CHANGING,
    DEFAULT_PAGE,
    READING,
    Filter,
    Limit,
    Offset,
    add_links,
    problems,
)
from edgeqa_cloud.api.problems import Problem
from edgeqa_cloud.rollout.filters import AuditFilter, MemberFilter, RolloutFilter
from edgeqa_cloud.rollout.spec import MAX_STAGES, RolloutSpec, Text
from edgeqa_cloud.rollout.states import Action, MemberState, RolloutState
from edgeqa_cloud.rollout.views import (
    AuditPage,
    MemberPage,
    OrderView,
    Plan,
    RolloutPage,
    RolloutView,
)

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

RolloutId = Annotated[str, Path(max_length=64, description="Such as `r-20261125-a1b2c3`.")]
SearchText = Annotated[Filter | None, Query(description="A part of it; capitals do not matter.")]
_OF_ONE = {**READING, **problems(404)}
_REVISION_DIGITS = 18


class OrderBody(BaseModel):
    """Why somebody orders."""

    model_config = ConfigDict(extra="forbid")

    note: Text = ""


def member_filter(
    state: Annotated[list[MemberState] | None, Query(description="One of these.")] = None,
    stage: Annotated[int | None, Query(ge=0, lt=MAX_STAGES, description="0 is the first.")] = None,
    text: SearchText = None,
) -> MemberFilter:
    """From a query."""
    return MemberFilter(states=frozenset(state) if state else None, stage=stage, text=text or None)


def rollout_filter(
    state: Annotated[list[RolloutState] | None, Query(description="One of these.")] = None,
    model: Annotated[Filter | None, Query(description="NAME, or NAME@VERSION.")] = None,
    device: Annotated[Filter | None, Query(description="Only those that it is in.")] = None,
    text: SearchText = None,
) -> RolloutFilter:
    """From a query."""
    states = frozenset(state) if state else None
    return RolloutFilter(
        states=states, model=model or None, device=device or None, text=text or None
    )


def router(console: Console) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(prefix="/rollouts", tags=["rollouts"])
    _add_reading(routes, console)
    _add_creating(routes, console)
    for action in Action:
        _add_order(routes, console, action)
    return routes


def _add_creating(routes: APIRouter, console: Console) -> None:
    @routes.post("", status_code=HTTPStatus.CREATED, responses=CHANGING)
    def create_rollout(spec: RolloutSpec, caller: Operator, response: Response) -> RolloutView:
        """Begin a rollout; with `Idempotency-Key`, once however often it is sent."""
        made = console.rollouts.create(spec, actor=caller.actor)
        response.headers["ETag"] = _etag(made)
        response.headers["Location"] = f"/api/v1/rollouts/{made.rollout}"
        return made

    @routes.post("/plan", responses=CHANGING)
    def plan_rollout(spec: RolloutSpec, _: Operator) -> Plan:
        """Who would get what, and when, and what is odd about it; nothing is done."""
        return console.rollouts.plan(spec)


def _add_reading(routes: APIRouter, console: Console) -> None:
    @routes.get("", responses=READING)
    def list_rollouts(
        *,
        _: Viewer,
        request: Request,
        response: Response,
        which: Annotated[RolloutFilter, Depends(rollout_filter)],
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> RolloutPage:
        """Rollouts, newest first."""
        page = console.rollouts.list_rollouts(which, limit=limit, offset=offset)
        add_links(request, response, total=page.total, limit=limit, offset=offset)
        return page

    @routes.get("/{rollout}", responses=_OF_ONE)
    def show_rollout(_: Viewer, rollout: RolloutId, response: Response) -> RolloutView:
        """A rollout whole: stages, gates as last judged, what it waits for, orders."""
        found = console.rollouts.view(rollout)
        response.headers["ETag"] = _etag(found)
        return found

    @routes.get("/{rollout}/members", responses=_OF_ONE)
    def list_members(
        *,
        _: Viewer,
        rollout: RolloutId,
        request: Request,
        response: Response,
        which: Annotated[MemberFilter, Depends(member_filter)],
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> MemberPage:
        """Its devices, in the order of their turns."""
        page = console.rollouts.members(rollout, which, limit=limit, offset=offset)
        add_links(request, response, total=page.total, limit=limit, offset=offset)
        return page

    @routes.get("/{rollout}/audit", responses=_OF_ONE)
    def list_audit(
        *,
        _: Viewer,
        rollout: RolloutId,
        request: Request,
        response: Response,
        device: Annotated[Filter | None, Query()] = None,
        actor: Annotated[Filter | None, Query(description="`engine`, `user:anna`.")] = None,
        action: Annotated[Filter | None, Query(description="Such as `gate_breached`.")] = None,
        text: SearchText = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> AuditPage:
        """What was decided and ordered, with the evidence, newest first."""
        console.rollouts.check_known(rollout)
        which = AuditFilter(
            rollout=rollout, device=device or None, actor=actor or None, action=action or None,
            text=text or None,
        )  # fmt: skip
        page = console.rollouts.audit(which, limit=limit, offset=offset)
        add_links(request, response, total=page.total, limit=limit, offset=offset)
        return page


def _add_order(routes: APIRouter, console: Console, action: Action) -> None:
    def order(
        caller: Operator,
        rollout: RolloutId,
        response: Response,
        body: OrderBody | None = None,
        if_match: Annotated[
            str | None, Header(max_length=200, description="The ETag that was seen.")
        ] = None,
    ) -> OrderView:
        order = console.rollouts.order(
            rollout,
            action,
            actor=caller.actor,
            note="" if body is None else body.note,
            revision=_revision(if_match),
        )
        if order.state == "refused":
            raise Problem(
                HTTPStatus.CONFLICT, order.code or "order_refused", order.message or "refused"
            )
        if order.state == "waiting":
            response.status_code = HTTPStatus.ACCEPTED
        return order

    routes.add_api_route(
        f"/{{rollout}}/{action.value}",
        order,
        methods=["POST"],
        name=f"{action.value}_rollout",
        summary=_SUMMARIES[action][0],
        description=f"{_SUMMARIES[action][1]} With `If-Match` only if it still is as it was seen.",
        responses={
            HTTPStatus.ACCEPTED: {
                "model": OrderView,
                "description": "No engine has obeyed yet.",
            },
            **CHANGING,
            **problems(404, 412),
        },
    )


_SUMMARIES = {
    Action.PAUSE: (
        "Pause a rollout",
        "Nobody new begins; devices under way finish, and gates go on being judged.",
    ),
    Action.RESUME: ("Resume a rollout", "Goes on after a pause; not while a gate is breached."),
    Action.PROMOTE: (
        "Promote a stage",
        "Goes on without the rest of the soak, and over undecided gates; never over breached ones.",
    ),
    Action.ABORT: (
        "Abort a rollout",
        "Ends it: devices that changed keep the new model, those under way go back.",
    ),
    Action.UNDO: (
        "Undo a rollout",
        "All devices that got a wish go back to the model they had; also when it is over.",
    ),
}


def _etag(view: RolloutView) -> str:
    return f'"{view.revision}"'


def _revision(if_match: str | None) -> int | None:
    """The revision of an `If-Match`; None where any will do."""
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().removeprefix("W/").strip('"')
    if not (text.isascii() and text.isdigit() and len(text) <= _REVISION_DIGITS):
        raise Problem(
            HTTPStatus.PRECONDITION_FAILED,
            "changed_meanwhile",
            "If-Match holds no ETag of a rollout; send the one that came with it",
        )
    return int(text)
