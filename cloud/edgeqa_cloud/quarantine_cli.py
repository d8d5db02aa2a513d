"""`edgeqa cloud quarantine …`: look at messages that could not be stored, try or drop them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer
from sqlalchemy.exc import DBAPIError

from edgeqa.errors import UsageError
from edgeqa.flags import settings_options
from edgeqa.show import clean
from edgeqa_cloud import quarantine
from edgeqa_cloud.database import Database, DatabaseError, reason
from edgeqa_cloud.fleet_reader import open_database
from edgeqa_cloud.quarantine import Choice, Kept
from edgeqa_cloud.retry import Retried
from edgeqa_cloud.settings import CloudSettings

ResultT = TypeVar("ResultT")

_DATABASE = {"database", "database_password_file", "database_timeout_s", "sqlite_synchronous"}
_with_database = settings_options(
    CloudSettings, without=set(CloudSettings.model_fields) - _DATABASE
)
# A line of a list; `show` has the whole.
_REASON_CHARS = 100

app = typer.Typer(
    help="Messages that could not be stored.", no_args_is_help=True, rich_markup_mode=None
)

Code = Annotated[str | None, typer.Option(help="Only with this code.")]
Device = Annotated[str | None, typer.Option(help="Only of this device.")]
Numbers = Annotated[list[int] | None, typer.Argument(help="Their numbers, of `list`.")]
All = Annotated[bool, typer.Option("--all", help="Every message.")]


@app.command("list")
@_with_database
def list_(
    settings: CloudSettings,
    code: Code = None,
    device: Device = None,
    most: Annotated[int, typer.Option(min=1, max=10_000, help="Messages at most.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the last ones, and how many there are of each code."""
    choice = Choice(code=code, device=device)
    with _opened(settings) as database, database.reading() as connection:
        found = quarantine.latest(connection, choice, most=most)
        counted = quarantine.counts(connection, choice)
    for one in found:
        typer.echo(json.dumps(_fields(one)) if as_json else _line(one))
    if not as_json:
        total = sum(many for _, many in counted)
        each = ", ".join(f"{many} {name}" for name, many in counted)
        typer.echo(f"{total} in quarantine{': ' if each else ''}{each}")


@app.command()
@_with_database
def show(settings: CloudSettings, number: Annotated[int, typer.Argument()]) -> None:
    """Show one message, with its payload as it came."""
    with _opened(settings) as database, database.reading() as connection:
        found = quarantine.kept(connection, Choice(ids=(number,)), most=1)
    if not found:
        raise UsageError(f"there is no message {number} in quarantine")
    one = found[0]
    for name, value in _fields(one).items():
        typer.echo(clean(f"{name}: {value}"))
    typer.echo("")
    typer.echo(clean(one.payload.decode("utf-8", "backslashreplace")))
    if not one.whole:
        typer.echo(f"(the first {len(one.payload)} of {one.size} bytes)")


@app.command()
@_with_database
def retry(
    settings: CloudSettings,
    numbers: Numbers = None,
    code: Code = None,
    device: Device = None,
    everything: All = False,
) -> None:
    """Try messages again, as if they had just come; exit 1 if some still fail."""
    from edgeqa_cloud.retry import retry as try_again  # noqa: PLC0415

    choice = _choice(numbers, code, device, everything=everything)
    with _opened(settings) as database:
        done: Retried = _guarded(
            database,
            lambda: try_again(database, choice, most_bytes=settings.max_payload_bytes),
        )
    for one, why in done.failed:
        typer.echo(clean(f"{one.id}: {why}"))
    typer.echo(f"{done.stored} stored, {len(done.failed)} still in quarantine")
    if done.failed:
        sys.exit(1)


@app.command()
@_with_database
def drop(
    settings: CloudSettings,
    numbers: Numbers = None,
    code: Code = None,
    device: Device = None,
    everything: All = False,
) -> None:
    """Delete messages from quarantine."""
    choice = _choice(numbers, code, device, everything=everything)
    with _opened(settings) as database:

        def delete() -> int:
            with database.writing() as connection:
                return quarantine.drop(connection, choice)

        typer.echo(f"{_guarded(database, delete)} dropped")


@contextmanager
def _opened(settings: CloudSettings) -> Iterator[Database]:
    with open_database(settings) as database:
        yield database


def _guarded(database: Database, act: Callable[[], ResultT]) -> ResultT:
    try:
        return act()
    except DBAPIError as error:
        raise DatabaseError(f"database {database.shown}: {reason(error)}") from error


def _choice(
    numbers: list[int] | None, code: str | None, device: str | None, *, everything: bool
) -> Choice:
    if not (numbers or code or device or everything):
        raise UsageError("say which: numbers, --code, --device, or --all")
    return Choice(ids=tuple(numbers or ()), code=code, device=device)


def _fields(one: Kept) -> dict[str, object]:
    return {
        "number": one.id,
        "received": datetime.fromtimestamp(one.received_ms / 1000, UTC).isoformat(" ", "seconds"),
        "code": one.code,
        "device": one.device,
        "topic": one.topic,
        "reason": one.message,
        "bytes": one.size,
    }


def _line(one: Kept) -> str:
    received = datetime.fromtimestamp(one.received_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    why = one.message[:_REASON_CHARS]
    return clean(f"{one.id:>6}  {received}  {one.code:<18}  {one.device or '-':<16}  {why}")
