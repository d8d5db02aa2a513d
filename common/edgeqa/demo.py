"""`edgeqa demo`: a broker, the cloud side, two agents and real questions, to see it work.

Everything runs in processes of its own, as in production, on free ports and in a temporary
folder; nothing is left behind.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edgeqa.client import Client
from edgeqa.demo_cloud import EAGER, Cloud, cloud_side, measure
from edgeqa.demo_packages import BAD, GOOD, SMALL, Published, publish
from edgeqa.demo_questions import ask_all, ask_otherwise
from edgeqa.demo_rollouts import roll_out, simulated_fleet
from edgeqa.demo_swap import swap
from edgeqa.manifest import Package, open_package
from edgeqa.processes import broker_process, edgeqa_process, log_line

DEVICES = ("demo-pi-1", "demo-pi-2")
DEVICE = DEVICES[0]
GROUP = "demo-hall"
USER = "demo"


def demo(
    once: Annotated[
        bool,
        typer.Option(
            "--once",
            help="End after the questions: 0 if all worked, 1 if not. CI=true does the same.",
        ),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the demo's broker; 0: a free one.")
    ] = 0,
) -> None:
    """Start a broker, the cloud side and two agents here; ask, swap, and see what they measured."""
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeqa-demo-")))
        url = stack.enter_context(broker_process(folder, port))
        console.print(f"broker   Mosquitto on {url}")
        published = publish(folder)
        names = ", ".join(" ".join(package) for package in (SMALL, GOOD, BAD))
        console.print(f"models   {names}, published in a signed repository")
        cloud = stack.enter_context(cloud_side(folder, url, published.settings("CLOUD")))
        password = secrets.token_urlsafe(9)
        cloud.add_user(USER, password)
        console.print(f"cloud    {cloud.page}, user {USER}, password {password}")
        begun = time.monotonic()
        for device in DEVICES:
            package = stack.enter_context(_agent(folder, url, device, published))
        model = package.manifest
        console.print(
            f"agents   {' and '.join(DEVICES)}, model {model.name} {model.version}, "
            f"online after {time.monotonic() - begun:.1f} s"
        )
        client = stack.enter_context(Client(broker=url))
        seen = [
            *ask_all(client, DEVICE, package.checks(), console),
            *ask_otherwise(client, url, DEVICES, GROUP),
            *swap(client, url, DEVICE, package, console),
            *measure(cloud, url, DEVICES, SMALL, console),
        ]
        simulated = stack.enter_context(simulated_fleet(folder, url))
        console.print(f"fleet    {simulated} simulated devices beside them")
        seen += roll_out(cloud, folder, DEVICE, console)
        for what, worked in seen:
            mark = "[green]ok[/]" if worked else "[red]FAILED[/]"
            console.print(f"{mark:<14} {what}")
        all_worked = all(worked for _, worked in seen)
        if not (once or os.environ.get("CI", "").lower() in {"1", "true"}):
            _stay(console, url, cloud, password)
    raise typer.Exit(0 if all_worked else 1)


def _stay(console: Console, url: str, cloud: Cloud, password: str) -> None:
    console.print(
        f"\nAsk it yourself, in another terminal:\n"
        f'  .venv/bin/edgeqa ask "Who may open the cover?" --device {DEVICE} --broker {url} '
        f"--text 'Only an electrician may open the cover.'\n"
        f"Watch the fleet, roll models out:\n"
        f"  {cloud.page}   user {USER}, password {password}\n"
        f"  .venv/bin/edgeqa fleet --watch --database {cloud.database}\n"
        f"  .venv/bin/edgeqa rollout list --url {cloud.page} --token-file {cloud.token_file}\n"
        f"  {cloud.metrics}/metrics/fleet\n"
        f"Ctrl-C ends the demo."
    )
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print()


@contextmanager
def _agent(folder: Path, url: str, device: str, published: Published) -> Iterator[Package]:
    """An agent inside the block, and the package that it serves."""
    settings = {
        "EDGEQA_AGENT_BROKER": url,
        "EDGEQA_AGENT_DEVICE": device,
        "EDGEQA_AGENT_GROUPS": GROUP,
        "EDGEQA_AGENT_LOG_FORMAT": "json",
        **EAGER,
        **published.settings("AGENT"),
    }
    log = folder / f"{device}.log"
    with edgeqa_process(["agent", "run"], log, settings, ready="agent_online"):
        yield open_package(Path(json.loads(log_line(log, "model_ready"))["package"]))
