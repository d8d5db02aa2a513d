"""`POST /devices/{device}/ask`: ask a device, and see where the answer stands in its text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from edgeqa.messages import Answer, Name
from edgeqa_cloud.api.access import Operator
from edgeqa_cloud.api.asker import MAX_WAIT_S, USUAL_WAIT_S
from edgeqa_cloud.api.described import DeviceId, problems
from edgeqa_cloud.api.devices import known

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

MAX_QUESTION_CHARS = 2000
MAX_CONTEXT_CHARS = 200_000
MAX_ANSWERS = 20


class AskBody(BaseModel):
    """A question, and the text that holds its answer, or the name of one stored on the device."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, Field(min_length=1, max_length=MAX_QUESTION_CHARS)]
    context: Annotated[str | None, Field(max_length=MAX_CONTEXT_CHARS)] = None
    context_id: Name | None = None
    top_k: Annotated[int, Field(ge=1, le=MAX_ANSWERS, description="Answers wanted.")] = 1
    timeout_s: Annotated[float, Field(gt=0, le=MAX_WAIT_S, allow_inf_nan=False)] = USUAL_WAIT_S


def router(console: Console) -> APIRouter:
    """The endpoint."""
    routes = APIRouter(tags=["devices"])

    @routes.post("/devices/{device}/ask", responses=problems(403, 404, 502, 504))
    def ask_device(_: Operator, device: DeviceId, body: AskBody) -> Answer:
        """Ask a device a question over MQTT, and wait for its answer.

        `start` and `end` of an answer count code points of the context, `end` excluded.
        """
        with console.database.reading() as connection:
            known(connection, device, console.now_ms())
        return console.asker.ask(
            device, body.question, body.context, context_id=body.context_id, top_k=body.top_k,
            timeout_s=body.timeout_s,
        )  # fmt: skip

    return routes
