"""`edgeqa agent install`, `uninstall` and `upgrade`: the agent as a service of systemd."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from edgeqa.installing.command import (
    Back,
    DryRun,
    Root,
    Version,
    say,
    uninstall_service,
    upgrade_service,
)

_PROGRAM = Path("/opt/edgeqa/bin/edgeqa")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(install)
    app.command()(uninstall)
    app.command()(upgrade)


def install(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            help="Folder that `edgeqa cloud enrol` wrote; without it, what is in /etc/edgeqa stays."
        ),
    ] = None,
    root: Root = Path("/"),
    program: Annotated[
        Path | None,
        typer.Option(
            help="The `edgeqa` that the service runs; this one, in an image /opt/edgeqa/bin/edgeqa."
        ),
    ] = None,
    start: Annotated[bool, typer.Option(help="Start it, and wait until it is online.")] = True,
    dry_run: DryRun = False,
) -> None:
    """Install the agent as a service of systemd, and start it. As root.

    What fails leaves what was there; the same again changes nothing.

    Exit codes: 0 the agent is online, 2 not root, 3 something is wrong here or in the bundle, 4 no
    broker, 5 and 6 the model package is refused.
    """
    from edgeqa.installing.place import Place  # noqa: PLC0415  as for `run`
    from edgeqa_agent.install import install_agent  # noqa: PLC0415

    place = Place(root.absolute())
    own = Path(sys.prefix) / "bin" / "edgeqa"
    install_agent(
        bundle=bundle,
        place=place,
        program=program or (own if place.live else _PROGRAM),
        now=datetime.now(UTC),
        start=start,
        dry_run=dry_run,
        say=say,
    )


def uninstall(
    purge: Annotated[
        bool, typer.Option("--purge", help="Also remove /etc/edgeqa, /var/lib/edgeqa and the user.")
    ] = False,
    root: Root = Path("/"),
    dry_run: DryRun = False,
) -> None:
    """Stop the agent and remove its service. As root.

    Settings, state and the user stay unless `--purge` is given; the programs in /opt/edgeqa stay.
    """
    from edgeqa_agent.install import agent_service  # noqa: PLC0415  as for `run`

    uninstall_service(agent_service(), root, purge=purge, dry_run=dry_run)


def upgrade(what: Version = None, back: Back = False) -> None:
    """Install another version beside this one and change over to it. As root.

    The agent goes on until the new version is there, and the version before is started again if
    the new one does not come up. pip's own settings apply: PIP_INDEX_URL, PIP_CONSTRAINT,
    /etc/pip.conf.
    """
    from edgeqa_agent.install import agent_service  # noqa: PLC0415  as for `run`

    upgrade_service(agent_service(), "agent", what, back=back)
