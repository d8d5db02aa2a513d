"""`edgeqa cloud enrol`, `revoke` and `enrolled`: who belongs to the fleet."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError

from edgeqa.identity.roles import Role
from edgeqa_cloud.access.shell import shell_actor
from edgeqa_cloud.database import Database, DatabaseError, reason
from edgeqa_cloud.enrolment import registry
from edgeqa_cloud.enrolment.bundle import USUAL_PLACE
from edgeqa_cloud.enrolment.cli_parts import (
    moment,
    opened_authority,
    tell_broker,
    with_authority,
    with_database,
    with_everything,
)
from edgeqa_cloud.enrolment.enrol_flags import (
    groups_of,
    host_of,
    place_of,
    repository_of,
    request_of,
    role_of,
    usual_days,
)
from edgeqa_cloud.enrolment.enrolled import EnrolledView, State, list_enrolled
from edgeqa_cloud.enrolment.enrolling import Enrolled, Wish
from edgeqa_cloud.enrolment.enrolling import enrol as carry_out
from edgeqa_cloud.fleet_reader import open_database
from edgeqa_cloud.screen import readers_may_leave
from edgeqa_cloud.settings import CloudSettings
from edgeqa_cloud.words import said

Name = Annotated[str, typer.Argument(help="1 to 64 letters, digits, '.', '_' or '-'.")]
AsClient = Annotated[bool, typer.Option("--client", help="Somebody who asks questions.")]
AsService = Annotated[
    bool, typer.Option("--service", help="The cloud side, or an operator's shell.")
]


@with_everything
def enrol(
    settings: CloudSettings,
    name: Name,
    *,
    client: AsClient = False,
    service: AsService = False,
    password: Annotated[
        bool, typer.Option("--password", help="Issue a password instead of a certificate.")
    ] = False,
    days: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=3650, help="It counts so long; `certificate_days` unless said."
        ),
    ] = None,
    csr: Annotated[
        Path | None,
        typer.Option("--csr", help="Signing request (PKCS #10, PEM); the key stays where it is."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also where the name is enrolled already.")
    ] = False,
    group: Annotated[
        list[str] | None, typer.Option(help="Group of the device; repeat the flag.")
    ] = None,
    broker_host: Annotated[
        str | None, typer.Option(help="Where the broker is; the authority's first unless said.")
    ] = None,
    broker_port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="The usual one of its role unless said.")
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder in which the bundle is written, a folder NAME.")
    ] = Path(),
    at: Annotated[
        # Of another machine: whether it can be read here says nothing.
        Path,
        typer.Option(readable=False, help="Where the bundle will lie on the machine that uses it."),
    ] = USUAL_PLACE,
) -> None:
    """Issue a device its certificate, and write the bundle that makes a machine that device.

    Exit codes: 0 enrolled, 2 a name or a request is wrong, 3 the authority or the output cannot be
    used, 4 no database, 5 the name is enrolled already.
    """
    role = role_of(client=client, service=service)
    wish = Wish(
        role=role,
        name=name,
        days=days or usual_days(settings, role),
        by_password=password,
        request=request_of(csr, by_password=password),
        again=again,
        groups=groups_of(group or [], role),
        host=host_of(broker_host),
        port=broker_port,
        at=place_of(at),
        repository=repository_of(settings),
    )
    authority = opened_authority(settings)
    with open_database(settings) as database:
        done = carry_out(wish, authority=authority, database=database, output=output,
                         actor=shell_actor(), now=moment())  # fmt: skip
        tell_broker(settings, authority, database)
    _show(wish, done)
    if wish.host is not None and wish.host not in authority.about.hosts:
        typer.echo(
            f"note: the broker's certificate is not for {wish.host}; add it with `edgeqa cloud "
            "authority refresh --broker-host …`, naming all, if that broker has our certificate",
            err=True,
        )


@with_authority
def revoke(
    settings: CloudSettings,
    name: Name,
    client: AsClient = False,
    service: AsService = False,
    reason_: Annotated[
        str, typer.Option("--reason", help="For the audit log, at most 200 characters.")
    ] = "",
) -> None:
    """End everything that somebody has: certificates and passwords of one name and role.

    Without an authority here, `edgeqa cloud run` tells the broker within `authority_every_s`. Exit
    codes: 0 revoked, 2 nobody of that name is enrolled, 3 the authority cannot be used, 4 no
    database.
    """
    role = role_of(client=client, service=service)
    # Before anything is done: a wrong passphrase must not leave half of it.
    authority = None if settings.authority is None else opened_authority(settings)
    with open_database(settings) as database:
        try:
            with database.writing() as connection:
                done = registry.revoke(
                    connection, role, name, reason=said(reason_) if reason_ else "",
                    actor=shell_actor(), now=moment(),
                )  # fmt: skip
        except DBAPIError as error:
            raise DatabaseError(f"database {database.shown}: {reason(error)}") from error
        typer.echo(
            f"{role} {name} is revoked: {_some(done.certificates, 'certificate')}, "
            f"{_some(done.passwords, 'password')}"
        )
        if authority is not None:
            tell_broker(settings, authority, database)
            return
    typer.echo(
        "no authority here: the cloud process that has it tells the broker within "
        f"{settings.authority_every_s:.0f} s",
        err=True,
    )


@with_database
def enrolled(
    settings: CloudSettings,
    role: Annotated[Role | None, typer.Option(help="Only these.")] = None,
    state: Annotated[State | None, typer.Option(help="Only these.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List who was enrolled, each name once: until when, or since when not."""
    now_ms = round(datetime.now(UTC).timestamp() * 1000)
    count = 0
    with open_database(settings) as database, readers_may_leave():
        for view in _list(database, now_ms, role, state):
            typer.echo(json.dumps(view.model_dump(mode="json")) if as_json else _line(view))
            count += 1
    if not count and not as_json:
        typer.echo("nobody; enrol one: edgeqa cloud enrol NAME")


def _list(
    database: Database, now_ms: int, role: Role | None, state: State | None
) -> list[EnrolledView]:
    try:
        with database.reading() as connection:
            return list(list_enrolled(connection, now_ms=now_ms, role=role, state=state))
    except DBAPIError as error:
        raise DatabaseError(f"database {database.shown}: {reason(error)}") from error


def _line(one: EnrolledView) -> str:
    if one.revoked_ms is not None:
        when = f"revoked {_day(one.revoked_ms)}{f': {said(one.reason)}' if one.reason else ''}"
    else:
        verb = "expired" if one.state is State.EXPIRED else "until"
        when = f"{verb} {_day(one.expires_ms)}, by {said(one.issued_by)}"
    return f"{one.role:<8} {one.name:<24} {one.state:<9} {one.method:<12} {when}"


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")


def _show(wish: Wish, done: Enrolled) -> None:
    typer.echo(
        f"{wish.role} {wish.name} is enrolled until {done.expires:%Y-%m-%d %H:%M} UTC; its bundle: "
        f"{done.bundle}"
    )
    notes = []
    if wish.request is not None:
        notes.append(f"put the key of the request beside it, as {wish.at / 'identity.key'}")
    if done.again:
        notes.append("what it had before goes on counting" if not wish.by_password else
                     "its former password counts no more")  # fmt: skip
    if done.back:
        notes.append(
            f"{wish.name} had nothing that counted: a connection that it may still have is heard "
            "again; restart the broker if somebody else may hold one"
        )
    for note in notes:
        typer.echo(f"note: {note}", err=True)
