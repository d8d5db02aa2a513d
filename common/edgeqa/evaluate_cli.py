"""`edgeqa evaluate`: an operator has a device measure its model now."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeqa.client_settings import HOW_TO_ASK, ClientSettings
from edgeqa.errors import UsageError
from edgeqa.evaluation_view import evaluation_lines
from edgeqa.flags import settings_options
from edgeqa.model_messages import CommandReply, Verb
from edgeqa.operator import Operator
from edgeqa.questions import MAX_TIMEOUT_S
from edgeqa.swap_order import print_message

# An idle device takes a minute for a slice; a busy one waits, at most its `evaluation_timeout_s`.
_WAIT_S = 1800.0


def register(app: typer.Typer) -> None:
    """Add the command of this module to `edgeqa`."""
    app.command()(evaluate)


@settings_options(
    ClientSettings,
    short={"timeout_s": "--timeout"},
    without=("device", "group", *HOW_TO_ASK),
)
def evaluate(
    *,
    settings: ClientSettings,
    target: Annotated[str, typer.Argument(metavar="DEVICE", help="The device.")],
    questions: Annotated[
        int | None, typer.Option(help="Of the slice, at most; the device's setting if not said.")
    ] = None,
    slice_index: Annotated[
        int | None, typer.Option("--slice", help="Which slice, from 0; the next if not said.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result and show it.")] = False,
    wait_timeout: Annotated[float, typer.Option(help="How long --wait waits, seconds.")] = _WAIT_S,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the messages, one a line.")
    ] = False,
) -> None:
    """Have a device evaluate the model that it runs, beside its schedule.

    It asks itself when nobody else asks. The result goes to the cloud, with --wait here too.

    Exit codes: 0 done (without --wait: the device has the order), 4 no connection, no reply in
    time or one order is under way already, 5 refused.
    """
    if not 0 < wait_timeout <= MAX_TIMEOUT_S:
        raise UsageError(f"--wait-timeout: must be more than 0 and at most {MAX_TIMEOUT_S:g}")
    fields = {"questions": questions, "slice": slice_index}
    if not wait:
        with Operator(broker=settings) as operator:
            reply = _order(operator, settings, target, fields)
        _show_reply(reply, as_json=as_json)
        return
    with Operator(broker=settings) as operator, operator.evaluations(target) as watch:
        reply = _order(operator, settings, target, fields)
        _show_reply(reply, as_json=as_json)
        result = watch.result(reply.id or "", timeout_s=wait_timeout)
    if as_json:
        print_message(result)
    else:
        typer.echo("\n".join(evaluation_lines(result)))


def _order(
    operator: Operator, settings: ClientSettings, device: str, fields: dict[str, int | None]
) -> CommandReply:
    said = {name: value for name, value in fields.items() if value is not None}
    return operator.command(device, Verb.EVALUATE, fields=said, timeout_s=settings.timeout_s)


def _show_reply(reply: CommandReply, *, as_json: bool) -> None:
    if as_json:
        print_message(reply)
    else:
        typer.echo(f"{reply.device} asks itself {reply.queued or 0} questions")
