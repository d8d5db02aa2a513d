"""`edgeqa fleet …`: the fleet on the terminal, read from the cloud's database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from pydantic import BaseModel
from rich.text import Text
from typer.core import TyperGroup

from edgeqa.errors import UsageError
from edgeqa.flags import settings_options
from edgeqa_cloud.device_filter import ALL_DEVICES, MAX_PAGE, DeviceFilter, DeviceSort
from edgeqa_cloud.fleet_show import history_lines
from edgeqa_cloud.fleet_tables import list_lines, summary_lines
from edgeqa_cloud.fleet_tag import tag_devices
from edgeqa_cloud.fleet_views import DeviceHistory, DevicePage, FleetSummary
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.screen import make_console, print_lines, readers_may_leave, watch, width_of
from edgeqa_cloud.settings import CloudSettings
from edgeqa_cloud.words import MAX_SPAN_S, parse_span, said

if TYPE_CHECKING:
    from sqlalchemy import Connection

ViewT = TypeVar("ViewT", bound=BaseModel)

DEFAULT_LIMIT = 1000
DEFAULT_EVERY_S = 2.0
# Faster than anyone reads, and each time reads the database.
LEAST_EVERY_S = 0.2

# The collector's settings are known, so that its environment and its file do for these commands
# too; those of the database alone have flags here.
_DATABASE = {"database", "database_password_file", "database_timeout_s"}
_OTHERS = set(CloudSettings.model_fields) - _DATABASE
with_database = settings_options(CloudSettings, without=_OTHERS)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on one line.")]
Watch = Annotated[bool, typer.Option("--watch", help="Show it again and again until Ctrl-C.")]
Every = Annotated[
    float | None,
    typer.Option("--every", metavar="SECONDS", help="How often --watch reads; 2 unless said."),
]


class UnknownDeviceError(UsageError):
    """No such device."""

    code = "unknown_device"


class _ListByDefault(TyperGroup):
    """`edgeqa fleet --json` is `edgeqa fleet list --json`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # typer's context is click's
        if not args or (args[0].startswith("-") and args[0] not in {"--help", "-h"}):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ListByDefault,
    help="See the fleet: devices, their models, scores and times. Without a command: list.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command("list")
@with_database
def list_(
    *,
    settings: CloudSettings,
    presence: Annotated[
        list[Presence] | None, typer.Option(help="Only these; repeat it for several.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME[@VERSION]", help="Only devices that run it.")
    ] = None,
    in_group: Annotated[
        str | None, typer.Option("--group", metavar="GROUP", help="Only devices of this group.")
    ] = None,
    tag: Annotated[
        str | None, typer.Option(metavar="TAG", help="Only devices with this tag.")
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(
            metavar="QUERY", help="Only where it holds, such as 'em<70 seen<1h'; docs/targets.md."
        ),
    ] = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only where id, board or model hold it.")
    ] = None,
    sort: Annotated[DeviceSort, typer.Option(help="By what.")] = DeviceSort.DEVICE,
    reverse: Annotated[bool, typer.Option("--reverse", help="Largest, or latest, first.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=MAX_PAGE, help="Most devices.")] = DEFAULT_LIMIT,
    offset: Annotated[int, typer.Option(min=0, help="Devices to leave out first.")] = 0,
    watching: Watch = False,
    every: Every = None,
    as_json: AsJson = False,
) -> None:
    """List devices: presence, model, EM, F1, p95, temperature, when last heard.

    Exit codes: 0 done, or --watch ended by Ctrl-C, 2 a wrong query, 3 a setting is wrong, 4 no
    database.
    """
    from edgeqa_cloud.targets.query import parse  # noqa: PLC0415  SQLAlchemy takes its time

    which = DeviceFilter(
        presence=frozenset(presence) if presence else None,
        model=model,
        group=in_group,
        text=search,
        tag=tag,
        query=None if query is None else parse(query),
    )

    def page(connection: Connection) -> DevicePage:
        from edgeqa_cloud.queries import list_devices  # noqa: PLC0415  as above

        return list_devices(
            connection, now_ms=_now_ms(), which=which, sort=sort, descending=reverse, limit=limit,
            offset=offset,
        )  # fmt: skip

    def lines(view: DevicePage, width: int | None) -> Iterator[Text]:
        return list_lines(view, width=width, matched=which != ALL_DEVICES)

    _show(settings, page, lines, as_json=as_json, every_s=_every(watching, every))


@app.command()
@with_database
def show(
    *,
    settings: CloudSettings,
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Its id.")],
    since: Annotated[
        str, typer.Option(metavar="SPAN", help="How far back: 90s, 30m, 24h, 7d, 2w.")
    ] = "7d",
    watching: Watch = False,
    every: Every = None,
    as_json: AsJson = False,
) -> None:
    """Show one device: how it served, what it scored, its swaps, what is missing.

    Exit codes: 0 done, or --watch ended by Ctrl-C, 2 no such device, 3 a setting is wrong, 4 no
    database.
    """
    span_ms = round(parse_span(since, "--since") * 1000)

    def history(connection: Connection) -> DeviceHistory:
        from edgeqa_cloud.history import device_history  # noqa: PLC0415  as above

        now_ms = _now_ms()
        found = device_history(connection, device, since_ms=now_ms - span_ms, now_ms=now_ms)
        if found is None:
            raise UnknownDeviceError(f"no device {said(device)[:80]!r}; `edgeqa fleet` lists all")
        return found

    def lines(view: DeviceHistory, width: int | None) -> Iterator[Text]:
        return history_lines(view, width=width)

    _show(settings, history, lines, as_json=as_json, every_s=_every(watching, every))


@app.command()
@with_database
def summary(
    *,
    settings: CloudSettings,
    watching: Watch = False,
    every: Every = None,
    as_json: AsJson = False,
) -> None:
    """Show the fleet in figures: presence, models, EM, F1, latency, missing records, quarantine.

    Exit codes: 0 done, or --watch ended by Ctrl-C, 3 a setting is wrong, 4 no database.
    """

    def figures(connection: Connection) -> FleetSummary:
        from edgeqa_cloud.summary import fleet_summary  # noqa: PLC0415  as above

        return fleet_summary(connection, now_ms=_now_ms())

    def lines(view: FleetSummary, width: int | None) -> Iterator[Text]:
        return summary_lines(view, width=width)

    _show(settings, figures, lines, as_json=as_json, every_s=_every(watching, every))


app.command("tag")(with_database(tag_devices))


def _show(
    settings: CloudSettings,
    query: Callable[[Connection], ViewT],
    lines: Callable[[ViewT, int | None], Iterator[Text]],
    *,
    as_json: bool,
    every_s: float | None,
) -> None:
    """Print what a query gives: once, or every so often."""
    from edgeqa_cloud.fleet_reader import open_database, read  # noqa: PLC0415  as above

    with readers_may_leave(), open_database(settings) as database:
        console = make_console()

        def draw() -> list[Text]:
            view = read(database, query)
            if as_json:
                return [Text(view.model_dump_json())]
            return list(lines(view, width_of(console)))

        if every_s is None:
            print_lines(console, draw())
        else:
            watch(console, draw, every_s=every_s, plain=as_json)


def _every(watching: bool, every: float | None) -> float | None:
    """Seconds between two looks; None for a single one."""
    if every is None:
        return DEFAULT_EVERY_S if watching else None
    if not LEAST_EVERY_S <= every <= MAX_SPAN_S:
        raise UsageError(f"--every: must be from {LEAST_EVERY_S:g} to {MAX_SPAN_S} seconds")
    return every


def _now_ms() -> int:
    return round(time.time() * 1000)
