"""`edgeqa rollout create`: what a person wants, who would get it, and its begin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeqa_cloud.api_settings import ApiSettings
from edgeqa_cloud.rollout_flags import Flags, span_s, spec_of
from edgeqa_cloud.rollout_parts import (
    AsJson,
    UntilPaused,
    Watching,
    Yes,
    ask,
    now_ms,
    opened,
    show,
    somebody_is_there,
    watch_to_end,
    with_api,
)
from edgeqa_cloud.rollout_show import rollout_lines
from edgeqa_cloud.rollout_tables import plan_lines
from edgeqa_cloud.screen import print_lines, width_of

Names = list[str] | None


@with_api
def create(
    *,
    settings: ApiSettings,
    package: Annotated[
        str | None, typer.Argument(metavar="NAME@VERSION", help="The model; or in --spec.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every device.")] = False,
    device: Annotated[Names, typer.Option(metavar="DEVICE", help="This one; repeatable.")] = None,
    group: Annotated[Names, typer.Option(metavar="GROUP", help="Of this group.")] = None,
    tag: Annotated[Names, typer.Option(metavar="TAG", help="With this tag.")] = None,
    query: Annotated[
        str | None,
        typer.Option(
            metavar="QUERY", help="Only where this holds, such as 'memory>=4'; see docs/targets.md."
        ),
    ] = None,
    stages: Annotated[
        str | None,
        typer.Option(
            metavar="STAGES",
            help="SIZE:SOAK with commas between, cumulative: "
            "'5%:10m,25%:1h,100%:1h', '20:10m,100%', 'pi5+pi6:10m,100%:1h'.",
        ),
    ] = None,
    gate: Annotated[
        Names,
        typer.Option(metavar="GATE.FIELD=VALUE", help="Such as f1.max_drop=2; repeatable."),
    ] = None,
    no_gate: Annotated[
        Names, typer.Option(metavar="GATE", help="Switch one off; repeatable.")
    ] = None,
    device_gate: Annotated[
        Names,
        typer.Option(
            metavar="FIELD=VALUE",
            help="What each device checks before the model serves, such as min_f1=70; repeatable.",
        ),
    ] = None,
    on_breach: Annotated[
        str | None, typer.Option(metavar="undo|pause", help="What a breached gate does; undo.")
    ] = None,
    window: Annotated[
        Names,
        typer.Option(
            metavar="WINDOW", help="Only then: 'mon-fri 22:00-06:00 Europe/Berlin'; repeatable."
        ),
    ] = None,
    max_per_minute: Annotated[
        int | None, typer.Option(metavar="N", help="Most devices that begin in a minute.")
    ] = None,
    max_under_way: Annotated[
        int | None, typer.Option(metavar="N", help="Most devices that change at once.")
    ] = None,
    joiners: Annotated[
        str | None,
        typer.Option(metavar="include|ignore", help="Devices that match later; include."),
    ] = None,
    expire: Annotated[
        str | None, typer.Option(metavar="SPAN", help="A device away for longer is left out; 7d.")
    ] = None,
    evidence: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="Wait so long for undecided gates, then pause; 6h."),
    ] = None,
    digest: Annotated[
        str | None, typer.Option(metavar="SHA256", help="Refuse any other package.")
    ] = None,
    note: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; for people.")] = None,
    spec: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML or JSON with all of it; flags stand over it."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show who would get what, and when.")
    ] = False,
    watching: Watching = False,
    until_paused: UntilPaused = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Begin a rollout. On a terminal it shows the plan and asks first, unless --yes.

    \b
      edgeqa rollout create minilm-l6-squad@0.2.0 --all --dry-run
      edgeqa rollout create minilm-l6-squad@0.2.0 --tag pi5 --query 'memory>=4' \\
        --stages 1:10m,10%:1h,100%:1h --gate f1.max_drop=2 --watch
      edgeqa rollout create --spec night.toml --yes

    Exit codes: 0 begun (with --watch: completed), 2 it makes no sense, 3 a setting or the token is
    wrong, 4 no API, 5 refused (with --watch: stopped by a person), 6 with --watch: stopped by a
    gate, 130 you answered no.
    """
    wanted = spec_of(
        Flags(
            package=package,
            digest=digest,
            everything=everything,
            devices=device or (),
            groups=group or (),
            tags=tag or (),
            query=query,
            stages=stages,
            gates=gate or (),
            no_gates=no_gate or (),
            device_gates=device_gate or (),
            windows=window or (),
            others={
                "on_breach": on_breach,
                "max_per_minute": max_per_minute,
                "max_under_way": max_under_way,
                "joiners": joiners,
                "offline_expire_s": None if expire is None else span_s(expire, "--expire"),
                "evidence_s": None if evidence is None else span_s(evidence, "--evidence"),
                "note": note,
            },
        ),
        spec,
    )
    with opened(settings) as (client, console):
        if dry_run:
            plan = client.plan(wanted)
            show(
                console,
                plan,
                lambda width: plan_lines(plan, now_ms=now_ms(), width=width),
                as_json=as_json,
            )
            return
        if somebody_is_there() and not yes and not as_json:
            lines = plan_lines(client.plan(wanted), now_ms=now_ms(), width=width_of(console))
            print_lines(console, list(lines))
            ask("Begin?")
        made = client.create(wanted)
        if not watching:
            show(
                console,
                made,
                lambda width: rollout_lines(made, now_ms=now_ms(), width=width),
                as_json=as_json,
            )
    if watching:
        watch_to_end(settings, made.rollout, as_json=as_json, until_paused=until_paused)
