"""`edgeqa cloud authority …`: make the authorities, look at them, write the broker's files."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeqa.identity.roles import Role
from edgeqa_cloud.enrolment.authority_folder import (
    is_encrypted,
    read_about,
    read_certificate,
    role_files,
)
from edgeqa_cloud.enrolment.broker_files import STAMP
from edgeqa_cloud.enrolment.broker_server import SERVER_CERTIFICATE, read_server
from edgeqa_cloud.enrolment.cli_parts import (
    authority_folder,
    moment,
    opened_authority,
    refreshed,
    show_written,
    with_authority,
)
from edgeqa_cloud.enrolment.making import AUTHORITY_DAYS, make_authority, set_hosts
from edgeqa_cloud.enrolment.passphrase import ask_passphrase
from edgeqa_cloud.enrolment.refreshing import broker_folder, refresh
from edgeqa_cloud.enrolment.refusals import AuthorityError
from edgeqa_cloud.enrolment.revocations import read_revocations
from edgeqa_cloud.fleet_reader import open_database
from edgeqa_cloud.settings import CloudSettings

authority = typer.Typer(
    help="The authorities that say who belongs to the fleet.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Hosts = Annotated[
    list[str] | None,
    typer.Option(
        "--broker-host",
        help="Host name or address at which the broker is reached; repeat the flag. Devices are "
        "told the first.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on one line.")]


@authority.command("init")
@with_authority
def init(
    settings: CloudSettings,
    broker_host: Hosts = None,
    days: Annotated[
        float, typer.Option(min=1, max=18_250, help="The authorities count so long.")
    ] = AUTHORITY_DAYS,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Leave the keys unencrypted.")
    ] = False,
) -> None:
    """Make the authorities of devices, clients and services, and the broker's files.

    What is there is never overwritten. Exit codes: 0 made, 3 there is one, or it cannot be made.
    """
    folder = authority_folder(settings)
    now = moment()
    made = make_authority(
        folder,
        hosts=broker_host or (),
        passphrase=None if no_passphrase else _new_passphrase(settings),
        now=now,
        days=days,
    )
    refresh(settings, made, None, now=now)
    typer.echo(f"{folder}: authorities of {', '.join(Role)}, until {_day(_end(folder))}")
    typer.echo(f"{broker_folder(settings, folder)}: what the broker reads")
    typer.echo("keep a copy of the folder and of the passphrase elsewhere", err=True)


@authority.command("status")
@with_authority
def status(settings: CloudSettings, as_json: AsJson = False) -> None:
    """Show the authorities, where their keys are, and what of the broker's expires when.

    Needs no passphrase. Exit codes: 0 shown, 3 there is none or it is damaged.
    """
    found = _status(authority_folder(settings), settings)
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(f"authority  {found['authority']}, broker at {', '.join(found['hosts'])}")
    for role, one in found["roles"].items():
        typer.echo(f"{role:<11}until {one['expires'][:10]}, key {one['key']}")
    typer.echo(f"broker     {found['broker_files']}")
    for name, end in found["files"].items():
        typer.echo(f"{'':<11}{name:<12}{f'until {end[:10]}' if end else 'MISSING'}")


@authority.command("refresh")
@with_authority
def refresh_files(
    settings: CloudSettings,
    broker_host: Hosts = None,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Sign lists and the broker's certificate, also where they still serve."
        ),
    ] = False,
) -> None:
    """Bring the broker's files up to date: certificate, revocations, access rules, passwords.

    `edgeqa cloud run` does that by itself. Use this where its authority lacks a key, or after the
    broker's hosts have changed. Exit codes: 0 written, 3 cannot be opened or written, 4 no
    database, 5 a key that is needed is not here.
    """
    opened = opened_authority(settings)
    if broker_host:
        set_hosts(opened, broker_host)
    with open_database(settings) as database:
        written = refreshed(settings, opened, database, again=again)
    folder = broker_folder(settings, opened.folder)
    show_written(written, folder)
    if not written.changed and not written.waiting:
        typer.echo(f"{folder}: nothing to change")
    if written.waiting:
        raise typer.Exit(5)


def _new_passphrase(settings: CloudSettings) -> str:
    passphrase = ask_passphrase(settings.authority_passphrase_file, new=True)
    if passphrase is None:
        raise AuthorityError(
            "the keys need a passphrase: name a file that holds it with "
            "--authority-passphrase-file, run this in a terminal, or leave the keys unencrypted "
            "with --no-passphrase",
            code="passphrase_missing",
        )
    return passphrase


def _status(folder: Path, settings: CloudSettings) -> dict[str, Any]:
    about = read_about(folder)
    files = broker_folder(settings, folder)
    roles, ends = {}, {}
    for role in Role:
        mine = role_files(folder, role)
        certificate = read_certificate(mine.certificate)
        encrypted = is_encrypted(mine.key)
        here = "here, encrypted" if encrypted else "here, NOT ENCRYPTED"
        roles[str(role)] = {
            "expires": _text(certificate.not_valid_after_utc),
            "key": "elsewhere" if encrypted is None else here,
        }
        _, listed = read_revocations(files / f"{role}.crl", certificate)
        ends[f"{role}.crl"] = None if listed is None else _text(listed.next_update_utc)
    server = read_server(files)
    ends[SERVER_CERTIFICATE] = None if server is None else _text(server.not_valid_after_utc)
    return {
        "authority": str(folder),
        "hosts": list(about.hosts),
        "roles": roles,
        "broker_files": str(files),
        "stamp": (files / STAMP).read_text().strip() if (files / STAMP).exists() else None,
        "files": ends,
    }


def _end(folder: Path) -> datetime:
    return min(
        read_certificate(role_files(folder, role).certificate).not_valid_after_utc for role in Role
    )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
