"""`edgeqa cloud packages`: what may be rolled out, and how the last reading of it went."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.text import Text

from edgeqa_cloud import words
from edgeqa_cloud.columns import Cell, Column, table_lines
from edgeqa_cloud.rollout.views import CatalogueView, PackageView
from edgeqa_cloud.screen import make_console, print_lines, readers_may_leave, width_of
from edgeqa_cloud.settings import CloudSettings

_COLUMNS = (
    Column("PACKAGE", least=20),
    Column("PRECISION"),
    Column("SIZE", right=True),
    Column("EM", right=True),
    Column("F1", right=True),
    Column("P95", right=True),
    Column("DEVICES", right=True),
    Column("SINCE", right=True),
)


def packages(
    *,
    settings: CloudSettings,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that are not offered any more.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on one line.")
    ] = False,
) -> None:
    """List the packages that the signed repository offers, as the cloud last read it.

    Exit codes: 0 done, 3 a setting is wrong, 4 no database.
    """
    from edgeqa_cloud.fleet_reader import open_database, read  # noqa: PLC0415  SQLAlchemy is slow
    from edgeqa_cloud.packages.catalogue import catalogue_view  # noqa: PLC0415  as above

    with readers_may_leave(), open_database(settings) as database:
        view = read(database, catalogue_view)
    if not everything:
        view = view.model_copy(
            update={"packages": [one for one in view.packages if one.gone_ms is None]}
        )
    if as_json:
        typer.echo(view.model_dump_json())
        return
    console = make_console()
    lines = catalogue_lines(view, now_ms=_now_ms(), width=width_of(console))
    print_lines(console, list(lines))


def catalogue_lines(view: CatalogueView, *, now_ms: int, width: int | None) -> Iterator[Text]:
    """The packages, and how they came here."""
    if view.repository is None:
        yield Text(
            "no repository was read yet; name one for `edgeqa cloud run` with --repository and "
            "--repository-root"
        )
        return
    if view.packages:
        yield from table_lines(_COLUMNS, [_row(one, now_ms) for one in view.packages], width=width)
    count = len(view.packages)
    read = "never read" if view.read_ms is None else f"read {words.ago(view.read_ms, now_ms)}"
    which = f"{count:,} package{'s' * (count != 1)} of {words.said(view.repository)}"
    yield Text(f"{which}, {read}{_end(view, now_ms)}", style="dim")
    if view.code is not None:
        yield Text(f"{words.said(view.message)} [{words.said(view.code)}]", style="red")


def _end(view: CatalogueView, now_ms: int) -> str:
    if view.expires_ms is None:
        return ""
    left_s = (view.expires_ms - now_ms) / 1000
    return f", signed for {words.span(left_s)} more" if left_s > 0 else ", expired"


def _row(one: PackageView, now_ms: int) -> tuple[Cell | str, ...]:
    mine = [score for score in one.scores if score.get("precision") == one.precision]
    score: dict[str, Any] = mine[0] if mine else {}
    baseline: dict[str, Any] = one.baseline or {}
    gone = one.gone_ms is not None
    return (
        Cell(words.said(one.name), "dim" if gone else "", tail=f" {words.said(one.version)}"),
        words.said(one.precision),
        words.mebibytes(one.bytes),
        words.points(score.get("exact_match")),
        words.points(score.get("f1")),
        words.milliseconds(baseline.get("p95_ms")),
        f"{one.devices:,}",
        "gone" if gone else words.ago(one.first_seen_ms, now_ms),
    )


def _now_ms() -> int:
    return round(time.time() * 1000)
