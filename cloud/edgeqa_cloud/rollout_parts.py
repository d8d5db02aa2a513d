"""What the commands of `edgeqa rollout` share: options, the client, printing, asking."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from edgeqa.flags import settings_options
from edgeqa_cloud.api_settings import ApiSettings
from edgeqa_cloud.screen import make_console, print_lines, readers_may_leave, width_of

if TYPE_CHECKING:
    from edgeqa_cloud.rollout_client import ApiClient

ViewT = TypeVar("ViewT", bound=BaseModel)

# As Ctrl-C does: a person thought better of it.
DECLINED = 130
with_api = settings_options(ApiSettings, short={"timeout_s": "--timeout"}, without={"token"})

Id = Annotated[str, typer.Argument(metavar="ROLLOUT", help="Its id, such as r-20261125-a1b2c3.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on one line.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; where no terminal is, nobody "
                                   "is asked.")]  # fmt: skip
Watching = Annotated[bool, typer.Option("--watch", help="Then watch it until it is over.")]
UntilPaused = Annotated[
    bool, typer.Option("--until-paused", help="Also end when it is paused; for scripts.")
]


@contextmanager
def opened(settings: ApiSettings) -> Iterator[tuple[ApiClient, Console]]:
    """The API and the screen."""
    from edgeqa_cloud.rollout_client import ApiClient  # noqa: PLC0415  httpx takes its time

    with readers_may_leave(), ApiClient(settings=settings) as client:
        yield client, make_console()


def show(
    console: Console,
    view: BaseModel,
    lines: Callable[[int | None], Iterable[Text]],
    *,
    as_json: bool,
) -> None:
    """Print a view: as JSON on a line, or as lines that fit the screen."""
    if as_json:
        print_lines(console, [Text(view.model_dump_json())])
    else:
        print_lines(console, list(lines(width_of(console))))


def watch_to_end(
    settings: ApiSettings, rollout: str, *, as_json: bool, until_paused: bool
) -> NoReturn:
    """Watch a rollout, and end as it does."""
    from edgeqa_cloud.rollout_watch import How, watch  # noqa: PLC0415  as above

    with readers_may_leave():
        code = watch(
            settings,
            rollout,
            make_console(),
            How(as_json=as_json, until_paused=until_paused),
            now_ms=now_ms,
        )
    raise typer.Exit(code)


def somebody_is_there() -> bool:
    """Whether a person sits at a terminal, who can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def ask(question: str) -> None:
    """Go on, unless the person says no."""
    try:
        said = typer.confirm(question, default=False)
    except typer.Abort:  # Ctrl-C, or the end of the input
        typer.echo("")
        said = False
    if not said:
        typer.echo("nothing was done")
        raise typer.Exit(DECLINED)


def now_ms() -> int:
    """Our clock."""
    return round(time.time() * 1000)
