"""`edgeqa fleet tag`: give tags to devices and take them away."""

from __future__ import annotations

import getpass
import time
from typing import Annotated

import typer

from edgeqa.errors import UsageError
from edgeqa.topics import is_name
from edgeqa_cloud.rollout.spec import MAX_DEVICES, Target
from edgeqa_cloud.settings import CloudSettings
from edgeqa_cloud.words import said


def tag_devices(
    *,
    settings: CloudSettings,
    devices: Annotated[
        list[str] | None, typer.Argument(metavar="DEVICE", help="Their ids.")
    ] = None,
    add: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="Give it; repeat it for several.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="Take it; repeat it for several.")
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(
            metavar="QUERY",
            help="All devices where it holds, of those named if any are; docs/targets.md.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on one line.")
    ] = False,
) -> None:
    """Tag devices, by their ids or by a query. The audit log says who did it.

    Exit codes: 0 done, 2 no such device, a wrong query or a tag that is none, 3 a setting is wrong,
    4 no database.
    """
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415  SQLAlchemy takes its time

    from edgeqa_cloud.database import DatabaseError, reason  # noqa: PLC0415  as above
    from edgeqa_cloud.fleet_reader import open_database  # noqa: PLC0415
    from edgeqa_cloud.targets.tags import change_tags  # noqa: PLC0415

    target = _target(devices or [], query)
    with open_database(settings) as database:
        try:
            with database.writing() as connection:
                done = change_tags(
                    connection,
                    target,
                    add=add or (),
                    remove=remove or (),
                    actor=_actor(),
                    now_ms=round(time.time() * 1000),
                )
        except DBAPIError as error:
            raise DatabaseError(f"database {database.shown}: {reason(error)}") from error
    if as_json:
        typer.echo(done.model_dump_json())
    else:
        plural = "s" * (done.devices != 1)
        typer.echo(f"{done.changed:,} of {done.devices:,} device{plural} changed")


def _target(devices: list[str], query: str | None) -> Target:
    if not devices and query is None:
        raise UsageError("name devices, or a --query; --query 'device~*' means all")
    if len(devices) > MAX_DEVICES:
        raise UsageError(f"{len(devices):,} devices; at most {MAX_DEVICES:,} at once")
    for name in devices:
        if not is_name(name):
            raise UsageError(f"no device {said(name)[:80]!r}; `edgeqa fleet` lists all")
    # Validated above and by the query's own parser: no form of pydantic's for a person to read.
    return Target.model_construct(devices=devices, groups=[], tags=[], all=False, query=query)


def _actor() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # an account without a name, as in some containers
        return "cli:unknown"
