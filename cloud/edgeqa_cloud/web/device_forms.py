"""What a person does on a device's page: change its tags, ask it a question."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from starlette.responses import RedirectResponse

from edgeqa.errors import EdgeqaError
from edgeqa.messages import Answer
from edgeqa_cloud.rollout.spec import Target
from edgeqa_cloud.targets.tags import TagsError, change_tags
from edgeqa_cloud.web.device import device_values
from edgeqa_cloud.web.guard import Operator, is_refresh, page_router
from edgeqa_cloud.web.marking import Piece, marked, stands_in
from edgeqa_cloud.web.rendering import render

if TYPE_CHECKING:
    from edgeqa_cloud.access.roles import Caller
    from edgeqa_cloud.api.parts import Console

# As many as the fields take; agents have bounds of their own and refuse what is longer.
MAX_QUESTION_CHARS = 2000
MAX_CONTEXT_CHARS = 200_000
_TEXT = Form()


@dataclass(frozen=True, slots=True)
class Asked:
    """What was filled in."""

    question: str
    context: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no answer."""

    title: str
    text: str
    code: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a question.

    Attributes:
        pieces: the context with the answer marked.
        found: whether the best answer stands in the context where the device says.
        total_ms: from asking to the answer, as the person waited.
    """

    answer: Answer | None = None
    pieces: tuple[Piece, ...] = ()
    found: bool = False
    total_ms: float = 0.0
    error: Trouble | None = None


def router(console: Console) -> APIRouter:
    """The forms."""
    pages = page_router()

    @pages.post("/devices/{device}/tags")
    def tags(
        request: Request,
        caller: Operator,
        device: str,
        add: Annotated[str, _TEXT] = "",
        remove: Annotated[str, _TEXT] = "",
    ) -> Response:
        """Give a tag, or take one."""
        values = device_values(console, request, device)  # 404 before anything is changed
        try:
            with console.database.writing() as connection:
                change_tags(
                    connection, Target(devices=[device]), add=add.replace(",", " ").split(),
                    remove=[remove] if remove else [], actor=caller.actor, now_ms=console.now_ms(),
                )  # fmt: skip
        except TagsError as error:
            values["tag_error"] = str(error)
            return _again(request, caller, values)
        if not is_refresh(request):
            return RedirectResponse(f"/devices/{device}", status_code=303)
        return _again(request, caller, device_values(console, request, device))

    @pages.post("/devices/{device}/ask")
    def ask(
        request: Request,
        caller: Operator,
        device: str,
        question: Annotated[str, _TEXT] = "",
        context: Annotated[str, _TEXT] = "",
    ) -> Response:
        """Ask the device, and show the answer in its context."""
        values = device_values(console, request, device)
        # Browsers send line breaks of a form as two characters.
        asked = Asked(question.strip(), context.replace("\r\n", "\n"))
        values["asked"] = asked
        values["answered"] = answered(
            asked, lambda: console.asker.ask(device, asked.question, asked.context)
        )
        return _again(request, caller, values)

    return pages


def answered(asked: Asked, ask: Callable[[], Answer]) -> Answered:
    """Ask, and make what a page shows of the answer, or of the reason why there is none."""
    if len(asked.question) > MAX_QUESTION_CHARS or len(asked.context) > MAX_CONTEXT_CHARS:
        return Answered(
            error=Trouble(
                "That is too long.",
                f"A question has at most {MAX_QUESTION_CHARS:,} characters, and its text "
                f"{MAX_CONTEXT_CHARS:,}.",
                "payload_too_large",
            )
        )
    begun = time.perf_counter()
    try:
        answer = ask()
    except EdgeqaError as error:
        return Answered(error=Trouble("There is no answer.", str(error), error.code))
    if answer.error is not None:
        fault = answer.error
        return Answered(error=Trouble("The device refused.", fault.message, fault.code))
    best = (answer.answers or [])[:1]
    return Answered(
        answer=answer,
        pieces=tuple(marked(asked.context, best)),
        found=bool(best) and stands_in(asked.context, best[0]),
        total_ms=1000 * (time.perf_counter() - begun),
    )


def _again(request: Request, caller: Caller, values: dict[str, Any]) -> Response:
    return render(request, "device.html", caller=caller, **values)
