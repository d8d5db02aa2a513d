"""A new rollout: a form, its plan, and then the rollout itself.

A rollout is begun from a plan that was shown, with exactly the spec of that plan. Whoever sends it
twice begins it once: each plan has a key of its own.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Form, Request, Response
from pydantic import ValidationError
from sqlalchemy import func, select
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse

from edgeqa.errors import EdgeqaError
from edgeqa_cloud.api.problems import Problem, problem_of
from edgeqa_cloud.database import DatabaseError
from edgeqa_cloud.packages.catalogue import PackageFilter, catalogue_view
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.presence_column import presence_column
from edgeqa_cloud.rollout.spec import RolloutSpec, Target
from edgeqa_cloud.rollout.views import PackageView, Plan
from edgeqa_cloud.tables import devices
from edgeqa_cloud.targets.resolve import target_condition
from edgeqa_cloud.web.gate_fields import gate_forms
from edgeqa_cloud.web.guard import Operator, PageProblem, is_refresh, page_router
from edgeqa_cloud.web.notices import Notice
from edgeqa_cloud.web.once import KEY_CHARS, begin_once
from edgeqa_cloud.web.rendering import render
from edgeqa_cloud.web.rollout_draft import DAYS, SPANS, Draft, field_of_code
from edgeqa_cloud.web.rollout_words import target_words

if TYPE_CHECKING:
    from edgeqa_cloud.api.access import Caller
    from edgeqa_cloud.api.parts import Console

_PATH = "/rollouts/new"
# To choose from; by the address of its page any other can be given.
MAX_PACKAGES = 500
# Devices of a stage that the plan names on the page.
MAX_NAMED = 20
_KEY_BYTES = 24
_WRONG = 422


async def _form(request: Request) -> FormData:
    return await request.form()


def router(console: Console) -> APIRouter:
    """The form, the plan, the beginning."""
    pages = page_router()

    @pages.get(_PATH)
    def new(request: Request, caller: Operator) -> Response:
        """An empty form; with `?package=NAME@VERSION`, of that one."""
        draft = Draft.usual(request.query_params.get("package", ""))
        return _page(console, request, caller, draft)

    @pages.post(_PATH)
    def change(
        request: Request, caller: Operator, form: Annotated[FormData, Depends(_form)]
    ) -> Response:
        """A row more or less, how many devices match, or the plan."""
        draft = Draft.of((name, str(value)) for name, value in form.multi_items())
        match str(form.get("do", "")):
            case "plan":
                return _planned(console, request, caller, draft)
            case what:
                return _page(console, request, caller, draft.changed(what))

    @pages.post("/rollouts")
    def begin(
        request: Request,
        caller: Operator,
        spec: Annotated[str, Form()],
        key: Annotated[str, Form(min_length=16, max_length=KEY_CHARS)],
    ) -> Response:
        """Begin what was planned."""
        try:
            wanted = RolloutSpec.model_validate_json(spec)
            rollout = begin_once(console, caller, wanted, key=key)
        except ValidationError as error:
            raise PageProblem(
                _WRONG, "That is no plan of ours.", "Show the plan again, and begin it there.",
                back=(_PATH, "New rollout"),
            ) from error  # fmt: skip
        except (DatabaseError, Problem):
            raise
        except EdgeqaError as error:
            notice = Notice("bad", "It was not begun.", str(error), error.code)
            return _page(console, request, caller, Draft.usual(), notice=notice,
                         status=problem_of(error).status_code)  # fmt: skip
        address = f"/rollouts/{rollout}"
        if is_refresh(request):
            return Response(status_code=204, headers={"HX-Redirect": address})
        return RedirectResponse(address, status_code=303)

    return pages


def _planned(console: Console, request: Request, caller: Caller, draft: Draft) -> Response:
    spec, errors = draft.spec()
    if spec is None:
        return _page(console, request, caller, draft, errors=errors, status=_WRONG)
    try:
        plan = console.rollouts.plan(spec)
    except DatabaseError:
        raise
    except EdgeqaError as error:
        field = field_of_code(error.code)
        notice = None if field else Notice("bad", "It cannot be planned.", str(error), error.code)
        return _page(
            console, request, caller, draft, errors={field: [str(error)]}, notice=notice,
            status=problem_of(error).status_code,
        )  # fmt: skip
    return _page(
        console, request, caller, draft, plan=plan, planned=spec.model_dump_json(),
        key=secrets.token_urlsafe(_KEY_BYTES), spec=spec,
    )  # fmt: skip


def _page(
    console: Console,
    request: Request,
    caller: Caller,
    draft: Draft,
    *,
    errors: dict[str, list[str]] | None = None,
    notice: Notice | None = None,
    plan: Plan | None = None,
    status: int = 200,
    **more: Any,
) -> Response:
    with console.database.reading() as connection:
        catalogue = catalogue_view(
            connection, which=PackageFilter(offered=True), limit=MAX_PACKAGES
        )
    count, query_error = _count(console, draft)
    told = dict(errors or {})
    if query_error and "query" not in told:
        told["query"] = [query_error]
    values: dict[str, Any] = {
        "draft": draft,
        "errors": told,
        "failed": bool(errors),
        "notice": notice,
        "packages": catalogue.packages,
        "f1_of": _f1,
        "gate_forms": gate_forms(),
        "days": list(DAYS),
        "spans": SPANS,
        "count": count,
        "plan": plan,
        "planned": "",
        "key": "",
        "spec": None,
        "max_named": MAX_NAMED,
        "target_words": target_words,
        **more,
    }
    # A script takes what the page says whatever its status; without one, the status is for all.
    return render(
        request, "rollout_new.html", caller=caller, now_ms=console.now_ms(), page="/rollouts",
        status=200 if is_refresh(request) else status, **values,
    )  # fmt: skip


def _count(console: Console, draft: Draft) -> tuple[tuple[int, int] | None, str]:
    """Devices that match, and those of them that are online; or what is wrong with the query."""
    said = draft.target()
    if not said:
        return None, ""
    now_ms = console.now_ms()
    try:
        wanted = target_condition(Target.model_validate(said), now_ms=now_ms)
    except ValidationError:
        return None, ""
    except EdgeqaError as error:
        return None, str(error)
    online = func.count().filter(presence_column(now_ms) == Presence.ONLINE.value)
    query = select(func.count(), online).select_from(devices).where(wanted)
    with console.database.reading() as connection:
        total, there = connection.execute(query).one()
    return (total, there), ""


def _f1(package: PackageView) -> float | None:
    cards = [one for one in package.cards if one.get("packaged")]
    value = cards[0].get("f1") if cards else None
    return float(value) if isinstance(value, int | float) else None
