"""`edgeqa cloud install`, `uninstall` and `upgrade`: the cloud side as a service of systemd."""

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

_PROGRAM = Path("/opt/edgeqa-cloud/bin/edgeqa")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(install)
    app.command()(uninstall)
    app.command()(upgrade)


def install(
    *,
    bundle: Annotated[
        Path | None,
        typer.Argument(
            help="Folder that `edgeqa cloud enrol NAME --service --at /etc/edgeqa-cloud` wrote; "
            "without it, what is there stays."
        ),
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="A TOML file that becomes /etc/edgeqa-cloud/cloud.toml.")
    ] = None,
    root: Root = Path("/"),
    program: Annotated[
        Path | None,
        typer.Option(
            help="The `edgeqa` that the service runs; this one, in an image "
            "/opt/edgeqa-cloud/bin/edgeqa."
        ),
    ] = None,
    start: Annotated[bool, typer.Option(help="Start it.")] = True,
    dry_run: DryRun = False,
) -> None:
    """Install the cloud side as a service of systemd, and start it. As root.

    What fails leaves what was there; the same again changes nothing.

    Exit codes: 0 it runs, 2 not root, 3 something is wrong here or in the settings.
    """
    from edgeqa.installing.place import Place  # noqa: PLC0415  as for `run`
    from edgeqa.installing.service import Wanted  # noqa: PLC0415
    from edgeqa_cloud.install import Given, install_cloud  # noqa: PLC0415

    place = Place(root.absolute())
    own = Path(sys.prefix) / "bin" / "edgeqa"
    wanted = Wanted(
        place=place,
        program=program or (own if place.live else _PROGRAM),
        start=start,
        dry_run=dry_run,
    )
    install_cloud(Given(bundle, settings), wanted, now=datetime.now(UTC), say=say)


def uninstall(
    purge: Annotated[
        bool,
        typer.Option(
            "--purge",
            help="Also remove /etc/edgeqa-cloud, /var/lib/edgeqa-cloud with the database and the "
            "authority, /var/lib/edgeqa-broker and the user.",
        ),
    ] = False,
    root: Root = Path("/"),
    dry_run: DryRun = False,
) -> None:
    """Stop the cloud side and remove its service. As root.

    Settings, state and the user stay unless `--purge` is given.
    """
    from edgeqa_cloud.install import cloud_service  # noqa: PLC0415  as for `run`

    uninstall_service(cloud_service(), root, purge=purge, dry_run=dry_run)


def upgrade(what: Version = None, back: Back = False) -> None:
    """Install another version beside this one and change over to it. As root.

    Back up the database first: a later version brings its tables up to date, and the version before
    does not read them then.
    """
    from edgeqa_cloud.install import cloud_service  # noqa: PLC0415  as for `run`

    upgrade_service(cloud_service(), "cloud", what, back=back)
