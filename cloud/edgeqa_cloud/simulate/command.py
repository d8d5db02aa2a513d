"""`edgeqa cloud simulate`: a fleet that is not there, to size an installation by."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console

from edgeqa.flags import settings_options
from edgeqa.logs import configure_logs
from edgeqa.signals import stop_signals
from edgeqa_cloud.simulate.counters import Counters
from edgeqa_cloud.simulate.fleet import Fleet
from edgeqa_cloud.simulate.ledger import Ledger
from edgeqa_cloud.simulate.loop import EventLoop
from edgeqa_cloud.simulate.mailbox import MailRoom
from edgeqa_cloud.simulate.settings import SimulateSettings
from edgeqa_cloud.simulate.view import LiveView, LogView, View


@settings_options(SimulateSettings, short={"devices": "-n", "models": "--model"})
def simulate(
    settings: SimulateSettings,
    ledger: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a line for every record that a device made."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the final figures as JSON.")
    ] = False,
) -> None:
    """Simulate devices: real connections, outboxes and messages, made-up measurements.

    Ends after `--duration-s`, or with Ctrl-C or SIGTERM. Devices follow wishes (`edgeqa swap`) for
    the models given with `--models` and obey commands; they answer no questions.
    """
    configure_logs(level="info", fmt="auto")
    loop = EventLoop()
    counters = Counters()
    with ExitStack() as stack:
        stack.callback(loop.close)
        book = stack.enter_context(Ledger(ledger)) if ledger else None
        folder = settings.state_dir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        room = MailRoom(folder=folder, loop=loop, counters=counters, ledger=book)
        stack.enter_context(room)
        fleet = Fleet(settings=settings, loop=loop, mail_room=room, counters=counters)
        view = stack.enter_context(_view(settings, as_json=as_json))
        stack.enter_context(stop_signals(loop.stop))
        _show_now_and_then(loop, fleet, view)
        try:
            fleet.start()
            fleet.run()
            last = fleet.snapshot()
        finally:
            fleet.end()
        view.show(last)
    if as_json:
        sys.stdout.write(json.dumps(last.as_dict()) + "\n")


def _view(settings: SimulateSettings, *, as_json: bool) -> View:
    console = Console(stderr=as_json)
    if console.is_terminal:
        return LiveView(console)
    return LogView(structlog.get_logger(), every_s=settings.report_every_s)


def _show_now_and_then(loop: EventLoop, fleet: Fleet, view: View) -> None:
    def show() -> None:
        view.show(fleet.snapshot())
        loop.call_later(view.every_s, show)

    loop.call_later(view.every_s, show)
