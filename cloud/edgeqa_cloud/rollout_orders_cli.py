"""`edgeqa rollout pause|resume|promote|abort|undo`: what a person orders of a rollout."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from edgeqa.errors import ExitCode
from edgeqa_cloud import words
from edgeqa_cloud.api_settings import ApiSettings
from edgeqa_cloud.rollout.states import Action
from edgeqa_cloud.rollout.views import OrderView
from edgeqa_cloud.rollout_parts import (
    AsJson,
    Id,
    Yes,
    ask,
    opened,
    show,
    somebody_is_there,
    with_api,
)
from edgeqa_cloud.rollout_show import counted_states, title
from edgeqa_cloud.screen import print_lines

Note = Annotated[str, typer.Option(metavar="TEXT", help="Why; for people.")]
Revision = Annotated[
    int | None,
    typer.Option("--if-revision", min=1, help="Only if the rollout still is at this revision."),
]
_DONE = {
    Action.PAUSE: "paused",
    Action.RESUME: "goes on",
    Action.PROMOTE: "goes on to its next stage",
    Action.ABORT: "is aborted",
    Action.UNDO: "is being undone",
}


@with_api
def pause(
    *,
    settings: ApiSettings,
    rollout: Id,
    note: Note = "",
    revision: Revision = None,
    as_json: AsJson = False,
) -> None:
    """Let nobody new begin; devices under way finish.

    Exit codes: 0 obeyed, 2 no such rollout, 3 a setting or the token is wrong, 4 no API, or not
    obeyed yet, 5 refused.
    """
    _order(settings, rollout, Action.PAUSE, note=note, revision=revision, as_json=as_json)


@with_api
def resume(
    *,
    settings: ApiSettings,
    rollout: Id,
    note: Note = "",
    revision: Revision = None,
    as_json: AsJson = False,
) -> None:
    """Go on after a pause.

    Exit codes: as `pause`.
    """
    _order(settings, rollout, Action.RESUME, note=note, revision=revision, as_json=as_json)


@with_api
def promote(
    *,
    settings: ApiSettings,
    rollout: Id,
    note: Note = "",
    revision: Revision = None,
    as_json: AsJson = False,
) -> None:
    """Go on without waiting for soak and undecided gates.

    Never over a gate that is breached.

    Exit codes: as `pause`.
    """
    _order(settings, rollout, Action.PROMOTE, note=note, revision=revision, as_json=as_json)


@with_api
def abort(
    *,
    settings: ApiSettings,
    rollout: Id,
    note: Note = "",
    revision: Revision = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """End it; changed devices keep the new model.

    Exit codes: as `pause`; 130 where you answered no.
    """
    _order(
        settings, rollout, Action.ABORT, note=note, revision=revision, as_json=as_json,
        question=None if yes else "Abort it? Changed devices keep the new model.",
    )  # fmt: skip


@with_api
def undo(
    *,
    settings: ApiSettings,
    rollout: Id,
    note: Note = "",
    revision: Revision = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take all its devices back to their old model.

    Also when it is over. That each is back is verified by its report.

    Exit codes: as `pause`; 130 where you answered no.
    """
    _order(
        settings, rollout, Action.UNDO, note=note, revision=revision, as_json=as_json,
        question=None if yes else "Undo it? Its devices go back to the model they had before.",
    )  # fmt: skip


def _order(
    settings: ApiSettings,
    rollout: str,
    action: Action,
    *,
    note: str,
    revision: int | None,
    as_json: bool,
    question: str | None = None,
) -> None:
    """Give an order, and say what became of it."""
    with opened(settings) as (client, console):
        if question is not None and not as_json and somebody_is_there():
            view = client.show(rollout)
            about = title(view).append(f"  {counted_states(view.states)}", style="not bold")
            print_lines(console, [about])
            ask(question)
        order = client.order(rollout, action, note=note, revision=revision)
        show(console, order, lambda _: [_said(rollout, action, order)], as_json=as_json)
    if order.state == "waiting":
        raise typer.Exit(ExitCode.UNREACHABLE)


def _said(rollout: str, action: Action, order: OrderView) -> Text:
    if order.state == "waiting":
        return Text(
            f"{rollout}: {action.value} is ordered, and no engine has obeyed it yet; does "
            "`edgeqa cloud run` run?",
            style="yellow",
        )
    message = f": {words.said(order.message)}" if order.message else ""
    return Text(f"{rollout} {_DONE[action]}{message}")
