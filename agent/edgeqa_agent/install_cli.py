"""`edgeqa agent install`, `uninstall` and `upgrade`: the agent as a service of systemd."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")]
Root = Annotated[
    Path, typer.Option("--root", help="Folder of an image to install into, instead of this system.")
]
_PROGRAM = Path("/opt/edgeqa/bin/edgeqa")


def say(verb: str, what: str) -> None:
    """One line for each step."""
    typer.echo(f"{verb:<13} {what}")


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
    from edgeqa.installing import checks, service  # noqa: PLC0415  as for `run`
    from edgeqa.installing.place import Place  # noqa: PLC0415
    from edgeqa_agent.install import agent_service  # noqa: PLC0415

    place = Place(root.absolute())
    checks.check_rights(place)
    service.uninstall(agent_service(), place, say, purge=purge, dry_run=dry_run)


def upgrade(
    what: Annotated[
        str | None,
        typer.Argument(help="A version, a wheel or a checkout; the newest of pip's index."),
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="Go back to the version before.")] = False,
) -> None:
    """Install another version beside this one and change over to it. As root.

    The agent goes on until the new version is there, and the version before is started again if
    the new one does not come up. pip's own settings apply: PIP_INDEX_URL, PIP_CONSTRAINT,
    /etc/pip.conf.
    """
    from edgeqa.errors import UsageError  # noqa: PLC0415  as for `run`
    from edgeqa.installing import checks, upgrade  # noqa: PLC0415
    from edgeqa.installing.place import Place  # noqa: PLC0415
    from edgeqa_agent.install import agent_service  # noqa: PLC0415

    if back and what is not None:
        raise UsageError("either a version, or --back")
    checks.check_rights(Place())
    if back:
        upgrade.back(agent_service(), "agent")
    else:
        upgrade.upgrade(agent_service(), "agent", what, say)
