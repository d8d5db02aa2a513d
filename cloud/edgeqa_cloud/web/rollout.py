"""The page of one rollout: where it stands, what its gates say, its devices, and its orders.

An order is given for what the page showed: the state and the stage that the person saw go with it.
Devices that moved on meanwhile do not matter, or nobody could stop a quick rollout; a rollout that
is in another state or stage by now is not ordered about, and the page shows it as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Form, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from starlette.responses import RedirectResponse

from edgeqa.errors import EdgeqaError
from edgeqa_cloud.api.problems import problem_of
from edgeqa_cloud.database import DatabaseError
from edgeqa_cloud.rollout.filters import AuditFilter
from edgeqa_cloud.rollout.refusals import ChangedMeanwhileError, UnknownRolloutError
from edgeqa_cloud.rollout.spec import MAX_STAGES
from edgeqa_cloud.rollout.states import Action, MemberState
from edgeqa_cloud.rollout.tables import rollout_members, rollouts
from edgeqa_cloud.rollout.views import OrderView, RolloutView
from edgeqa_cloud.web.addresses import page_count
from edgeqa_cloud.web.evidence import evidence_text
from edgeqa_cloud.web.gate_bars import (
    gate_bar,
    gate_figure,
    gate_interval,
    gate_name,
    gate_words,
)
from edgeqa_cloud.web.guard import Operator, PageProblem, Viewer, is_live, is_refresh, page_router
from edgeqa_cloud.web.impact import Standing, choices
from edgeqa_cloud.web.notices import Notice
from edgeqa_cloud.web.rendering import render
from edgeqa_cloud.web.rollout_state import PAGE_ROWS, MembersState
from edgeqa_cloud.web.rollout_words import before_after, target_words, waits_for

if TYPE_CHECKING:
    from edgeqa_cloud.api.access import Caller
    from edgeqa_cloud.api.parts import Console

# Of the page; the audit log has all.
MAX_DECISIONS = 30
MAX_NOTE_CHARS = 1000
# Engines write meanwhile: a try more than that finds the rollout in another state.
_ORDER_TRIES = 5
_MAX_STATE_CHARS = 32


class OrderForm(BaseModel):
    """What the form of an order sends: the order, and what the person saw."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Action
    state: Annotated[str, Field(max_length=_MAX_STATE_CHARS)]
    stage: Annotated[int, Field(ge=0, le=MAX_STAGES)]
    revision: Annotated[int, Field(ge=0, lt=2**63)]
    note: Annotated[str, Field(max_length=MAX_NOTE_CHARS)] = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the person saw who orders."""

    revision: int
    state: str
    stage: int

    def holds(self, view: RolloutView) -> bool:
        """Whether the rollout still is what was seen, but for devices that moved on."""
        return (view.state.value, view.stage) == (self.state, self.stage)


def router(console: Console) -> APIRouter:
    """The page and its orders."""
    pages = page_router()

    @pages.get("/rollouts/{rollout}")
    def rollout_page(request: Request, caller: Viewer, rollout: str) -> Response:
        """All of one rollout."""
        return _page(console, request, caller, _view(console, rollout))

    @pages.post("/rollouts/{rollout}/orders")
    def order(
        request: Request,
        caller: Operator,
        rollout: str,
        form: Annotated[OrderForm, Form()],
        if_match: Annotated[str, Header(max_length=200)] = "",
    ) -> Response:
        """Order something, and show what came of it."""
        _view(console, rollout)  # 404 before anything is ordered
        seen = Seen(_revision(if_match, form.revision), form.state, form.stage)
        status = 200
        try:
            given = give(console, rollout, form.action, seen, actor=caller.actor,
                         note=form.note.strip())  # fmt: skip
            notice = told(given)
        except DatabaseError:
            raise
        except EdgeqaError as error:
            status = problem_of(error).status_code
            notice = Notice("bad", f"{form.action.value.capitalize()} was refused.", str(error),
                            error.code)  # fmt: skip
        if is_refresh(request):
            return _page(console, request, caller, _view(console, rollout), notice)
        if status == 200:  # noqa: PLR2004  the order stands on the page
            return RedirectResponse(f"/rollouts/{rollout}", status_code=303)
        return _page(console, request, caller, _view(console, rollout), notice, status=status)

    return pages


def give(
    console: Console, rollout: str, action: Action, seen: Seen, *, actor: str, note: str
) -> OrderView:
    """Give an order for what a person saw.

    Raises:
        ChangedMeanwhileError: it is in another state or stage by now.
        EdgeqaError: as `Rollouts.order`.
    """
    revision = seen.revision
    for left in reversed(range(_ORDER_TRIES)):
        try:
            return console.rollouts.order(
                rollout, action, actor=actor, note=note, revision=revision
            )
        except ChangedMeanwhileError:
            now = console.rollouts.view(rollout)
            if not left or not seen.holds(now):
                raise
            revision = now.revision
    raise AssertionError("unreachable")


def told(order: OrderView) -> Notice:
    """What became of an order, for whoever gave it."""
    name = order.action.capitalize()
    match order.state:
        case "obeyed":
            return Notice("ok", f"{name}: done.")
        case "refused":
            return Notice("bad", f"{name} was refused.", order.message or "", order.code)
        case _:
            return Notice(
                "info",
                f"{name} is ordered.",
                "It is obeyed as soon as an engine looks; if that takes long, see whether "
                "`edgeqa cloud run` runs.",
            )


def _revision(if_match: str, form: int) -> int:
    """Of the header, where a script sent one."""
    text = if_match.strip().strip('"')
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else form  # noqa: PLR2004  fits into 64 bits


def _view(console: Console, rollout: str) -> RolloutView:
    try:
        return console.rollouts.view(rollout)
    except UnknownRolloutError as error:
        raise PageProblem(
            404, "There is no such rollout.", "Check its id; the list has all of them.",
            code=error.code, back=("/rollouts", "All rollouts"),
        ) from error  # fmt: skip


def _wished(console: Console, rollout: str) -> dict[MemberState, int]:
    """Devices that got a wish, by state."""
    member = rollout_members.c
    query = (
        select(member.state, func.count())
        .join(rollouts, rollouts.c.id == member.rollout_id)
        .where(rollouts.c.rollout == rollout, member.wish.is_not(None))
        .group_by(member.state)
    )
    with console.database.reading() as connection:
        return {MemberState(state): count for state, count in connection.execute(query)}


def _page(
    console: Console,
    request: Request,
    caller: Caller,
    view: RolloutView,
    notice: Notice | None = None,
    *,
    status: int = 200,
) -> Response:
    path = f"/rollouts/{view.rollout}"
    shown = MembersState.of(path, request.query_params)
    members = console.rollouts.members(
        view.rollout, shown.filter(), limit=PAGE_ROWS, offset=shown.offset
    )
    decisions = console.rollouts.audit(AuditFilter(rollout=view.rollout), limit=MAX_DECISIONS)
    now_ms = console.now_ms()
    values: dict[str, Any] = {
        "now_ms": now_ms,
        "page": "/rollouts",
        "path": path,
        "rollout": view,
        "notice": notice,
        "choices": choices(Standing(view, _wished(console, view.rollout))),
        "shown": shown,
        "members": members,
        "member_pages": page_count(members.total, PAGE_ROWS),
        "member_states": list(MemberState),
        "decisions": decisions,
        "waits_for": waits_for(view, now_ms),
        "target_words": target_words,
        "before_after": before_after,
        "gate_bar": gate_bar,
        "gate_figure": gate_figure,
        "gate_interval": gate_interval,
        "gate_name": gate_name,
        "gate_words": gate_words,
        "evidence_text": evidence_text,
        "max_note_chars": MAX_NOTE_CHARS,
    }
    asked = is_refresh(request) and not is_live(request) and request.method == "GET"
    headers = {"HX-Replace-Url": shown.address()} if asked else None
    return render(request, "rollout.html", caller=caller, status=status, headers=headers, **values)
