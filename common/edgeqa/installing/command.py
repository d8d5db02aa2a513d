"""What the commands of both roles that install a service share: options, and what they call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeqa.errors import UsageError

if TYPE_CHECKING:
    from edgeqa.installing.service import Service

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")]
Root = Annotated[
    Path, typer.Option("--root", help="Folder of an image to install into, instead of this system.")
]
Version = Annotated[
    str | None, typer.Argument(help="A version, a wheel or a checkout; the newest of pip's index.")
]
Back = Annotated[bool, typer.Option("--back", help="Go back to the version before.")]


def say(verb: str, what: str) -> None:
    """One line for each step."""
    typer.echo(f"{verb:<13} {what}")


def uninstall_service(service: Service, root: Path, *, purge: bool, dry_run: bool) -> None:
    """Stop a service and remove it.

    Raises:
        UsageError: not root.
        InstallError: something is in the way.
    """
    from edgeqa.installing import checks  # noqa: PLC0415  `--help` does not wait
    from edgeqa.installing import service as services  # noqa: PLC0415
    from edgeqa.installing.place import Place  # noqa: PLC0415

    place = Place(root.absolute())
    checks.check_rights(place)
    services.uninstall(service, place, say, purge=purge, dry_run=dry_run)


def upgrade_service(service: Service, extra: str, what: str | None, *, back: bool) -> None:
    """Change over to another version, or go back to the one before.

    Args:
        service: of the role.
        extra: the role's extra of the package.
        what: as `Version`.
        back: instead.

    Raises:
        UsageError: both are wished for, or not root.
        InstallError: it cannot be installed, or does not come up.
    """
    from edgeqa.installing import checks, upgrade  # noqa: PLC0415  as above
    from edgeqa.installing.place import Place  # noqa: PLC0415

    if back and what is not None:
        raise UsageError("either a version, or --back")
    checks.check_rights(Place())
    if back:
        upgrade.back(service, extra)
    else:
        upgrade.upgrade(service, extra, what, say)
