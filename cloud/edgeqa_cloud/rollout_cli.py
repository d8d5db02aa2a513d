"""`edgeqa rollout …`: models for the fleet, in stages; a client of the REST API."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeqa_cloud.api_settings import ApiSettings
from edgeqa_cloud.rollout.filters import DEFAULT_PAGE, MAX_PAGE
from edgeqa_cloud.rollout.states import MemberState, RolloutState
from edgeqa_cloud.rollout_create import create
from edgeqa_cloud.rollout_orders_cli import abort, pause, promote, resume, undo
from edgeqa_cloud.rollout_parts import (
    AsJson,
    Id,
    UntilPaused,
    now_ms,
    opened,
    show,
    watch_to_end,
    with_api,
)
from edgeqa_cloud.rollout_show import list_lines, member_lines, rollout_lines
from edgeqa_cloud.rollout_tables import audit_lines

_EXAMPLES = """Roll a model out to the fleet in stages, steered by what the devices measure.

\b
  edgeqa rollout create minilm-l6-squad@0.2.0 --all --dry-run
  edgeqa rollout create minilm-l6-squad@0.2.0 --group site-1 --stages 5%:10m,100%:1h --watch
  edgeqa rollout list
  edgeqa rollout watch r-20261125-a1b2c3
  edgeqa rollout undo r-20261125-a1b2c3 --note 'answers are worse'

It asks the API of `edgeqa cloud run`: EDGEQA_API_URL, EDGEQA_API_TOKEN_FILE. See docs/rollouts.md.
"""

app = typer.Typer(
    help=_EXAMPLES,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(create)

Limit = Annotated[int, typer.Option(min=1, max=MAX_PAGE, help="Most on this page.")]
Offset = Annotated[int, typer.Option(min=0, help="To leave out first.")]


@app.command("list")
@with_api
def list_(
    *,
    settings: ApiSettings,
    state: Annotated[
        list[RolloutState] | None, typer.Option(help="Only these; repeat it for several.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME[@VERSION]", help="Only of this model.")
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Only where id, model, note or its maker hold it."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="Only those that it is in.")
    ] = None,
    limit: Limit = DEFAULT_PAGE,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """List rollouts, newest first.

    Exit codes: 0 done, 3 a setting or the token is wrong, 4 no API.
    """
    query = {
        "state": [one.value for one in state] if state else None,
        "model": model,
        "text": search,
        "device": device,
        "limit": limit,
        "offset": offset,
    }
    matched = any((state, model, search, device))
    with opened(settings) as (client, console):
        page = client.list_rollouts(query)
        show(
            console,
            page,
            lambda width: list_lines(page, now_ms=now_ms(), width=width, matched=matched),
            as_json=as_json,
        )


@app.command("show")
@with_api
def show_(*, settings: ApiSettings, rollout: Id, as_json: AsJson = False) -> None:
    """Show one: stages, gates, what it waits for.

    Exit codes: 0 done, 2 no such rollout, 3 a setting or the token is wrong, 4 no API.
    """
    with opened(settings) as (client, console):
        view = client.show(rollout)
        show(
            console,
            view,
            lambda width: rollout_lines(view, now_ms=now_ms(), width=width),
            as_json=as_json,
        )


@app.command()
@with_api
def watch(
    *,
    settings: ApiSettings,
    rollout: Id,
    until_paused: UntilPaused = False,
    as_json: AsJson = False,
) -> None:
    """Watch one until it is over; plain lines where there is no terminal.

    With --json: the whole of it at each change, one object a line.

    Exit codes: 0 completed, 2 no such rollout, 3 a setting or the token is wrong, 4 no API,
    5 stopped by a person, 6 stopped by a gate, 130 Ctrl-C: the rollout goes on.
    """
    watch_to_end(settings, rollout, as_json=as_json, until_paused=until_paused)


@app.command()
@with_api
def devices(
    *,
    settings: ApiSettings,
    rollout: Id,
    state: Annotated[
        list[MemberState] | None, typer.Option(help="Only these; repeat it for several.")
    ] = None,
    stage: Annotated[int | None, typer.Option(min=1, help="Only of this; 1 is the first.")] = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only where id or reason hold it.")
    ] = None,
    limit: Limit = DEFAULT_PAGE,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """List the devices of one: where each stands, and why.

    In the order of their turns.

    Exit codes: 0 done, 2 no such rollout, 3 a setting or the token is wrong, 4 no API.
    """
    query = {
        "state": [one.value for one in state] if state else None,
        "stage": None if stage is None else stage - 1,
        "text": search,
        "limit": limit,
        "offset": offset,
    }
    with opened(settings) as (client, console):
        page = client.members(rollout, query)
        show(
            console,
            page,
            lambda width: member_lines(page, now_ms=now_ms(), width=width),
            as_json=as_json,
        )


@app.command()
@with_api
def audit(
    *,
    settings: ApiSettings,
    rollout: Annotated[
        str | None, typer.Argument(metavar="ROLLOUT", help="Its id; all, unless said.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="Only about this one.")
    ] = None,
    action: Annotated[
        str | None, typer.Option(metavar="ACTION", help="Only this, such as gate_breached.")
    ] = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only where the message holds it.")
    ] = None,
    limit: Limit = DEFAULT_PAGE,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """Show decisions and orders, why and by whom.

    With --json the evidence of each too.

    Exit codes: 0 done, 2 no such rollout, 3 a setting or the token is wrong, 4 no API.
    """
    query = {"device": device, "action": action, "text": search, "limit": limit, "offset": offset}
    with opened(settings) as (client, console):
        page = client.audit(rollout, query)
        show(
            console, page, lambda _: audit_lines(page, of_one=rollout is not None), as_json=as_json
        )


for _order in (pause, resume, promote, abort, undo):
    app.command()(_order)
