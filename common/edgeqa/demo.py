"""`edgeqa demo`: a broker, two agents and real questions on this machine, to see it work.

Everything runs in processes of its own, as in production, on free ports and in a temporary
folder; nothing is left behind.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from edgeqa.client import Client
from edgeqa.demo_swap import NAME, VERSION, publish, swap
from edgeqa.errors import AnswerError, BrokerError, EdgeqaError
from edgeqa.manifest import Check, Package, open_package
from edgeqa.squad import Gold, best, f1

DEVICES = ("demo-pi-1", "demo-pi-2")
DEVICE = DEVICES[0]
GROUP = "demo-hall"
_GROUPED = 20
_START_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 15.0
# Debian keeps it where an ordinary user's PATH does not look.
_SBIN = "/usr/sbin"


@dataclass(frozen=True, slots=True)
class _Seen:
    """One thing that the demo shows, and whether it was seen to work."""

    what: str
    worked: bool


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
    """Start a broker and two agents here, ask real questions, and swap a model meanwhile."""
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeqa-demo-")))
        url = stack.enter_context(broker_process(folder, port))
        console.print(f"broker   Mosquitto on {url}")
        repository = publish(folder)
        console.print(f"models   {NAME} {VERSION}, published in a signed repository")
        begun = time.monotonic()
        for device in DEVICES:
            package = stack.enter_context(_agent(folder, url, device, repository))
        model = package.manifest
        console.print(
            f"agents   {' and '.join(DEVICES)}, model {model.name} {model.version}, "
            f"online after {time.monotonic() - begun:.1f} s"
        )
        client = stack.enter_context(Client(broker=url))
        seen = [
            *_ask_all(client, console, package.checks()),
            *_more(client, url),
            *(_Seen(*one) for one in swap(client, url, DEVICE, package, console)),
        ]
        for one in seen:
            mark = "[green]ok[/]" if one.worked else "[red]FAILED[/]"
            console.print(f"{mark:<14} {one.what}")
        worked = all(one.worked for one in seen)
        if not (once or os.environ.get("CI", "").lower() in {"1", "true"}):
            _stay(console, url)
    raise typer.Exit(0 if worked else 1)


def _ask_all(client: Client, console: Console, checks: list[Check]) -> Iterator[_Seen]:
    table = Table("question", "answer", "score", "model", "round trip", title_justify="left")
    rights, round_trips = 0, []
    for check in checks:
        begun = time.perf_counter()
        answer = client.ask(check.question, context=check.context, device=DEVICE, timeout_s=30.0)
        round_trips.append(1000 * (time.perf_counter() - begun))
        span = (answer.answers or [])[0]
        rights += best(f1, [Gold(text, 0) for text in check.answers], span.text) == 1.0
        table.add_row(
            check.question,
            span.text,
            f"{span.score:.2f}",
            f"{answer.inference_ms:.1f} ms",
            f"{round_trips[-1]:.1f} ms",
        )
    console.print(table)
    yield _Seen(
        f"{rights} of {len(checks)} questions over MQTT answered rightly, median round trip "
        f"{statistics.median(round_trips):.1f} ms",
        rights >= 0.9 * len(checks),
    )


def _more(client: Client, url: str) -> Iterator[_Seen]:
    """The other ways to ask, and what happens to a bad question."""
    text = "The spare key hangs in the blue cabinet. The alarm is switched off with code 4711."
    client.store_context(DEVICE, "house-rules", text)
    stored = client.ask("Where is the spare key?", context_id="house-rules", device=DEVICE)
    yield _Seen("a question about a text stored on the device", _is(stored.answers, "blue cabinet"))
    asked = [
        client.submit("What is the alarm code?", context=text, group=GROUP) for _ in range(_GROUPED)
    ]
    answers = [one.result() for one in asked]
    helped = {answer.device for answer in answers}
    yield _Seen(
        f"{_GROUPED} questions to any agent of a group, answered by {' and '.join(sorted(helped))}",
        helped == set(DEVICES) and all(_is(answer.answers, "4711") for answer in answers),
    )
    batch = client.ask_batch(
        ["Where is the key?", "What is the code?"], context=text, device=DEVICE
    )
    yield _Seen("two questions in one message", batch.results is not None)
    try:
        client.ask("Who?", context_id="nowhere", device=DEVICE)
        code = "none"
    except AnswerError as error:
        code = error.code
    yield _Seen(f"a bad question is refused with a code: {code}", code == "unknown_context")
    port = url.rpartition(":")[2]
    plain = subprocess.run(
        [
            *("mosquitto_rr", "-V", "5", "-p", port, "-q", "1", "-W", "20"),
            *("-t", f"edgeqa/v1/devices/{DEVICE}/ask", "-e", "edgeqa/v1/clients/rr/answers"),
            *("-m", json.dumps({"question": "What is the alarm code?", "context": text})),
        ],
        capture_output=True,
        check=False,
    )
    yield _Seen("the same with mosquitto_rr, no EdgeQA on the client", b"4711" in plain.stdout)


def _is(spans: object, words: str) -> bool:
    return isinstance(spans, list) and bool(spans) and words in spans[0].text


def _stay(console: Console, url: str) -> None:
    console.print(
        f"\nAsk it yourself, in another terminal:\n"
        f'  .venv/bin/edgeqa ask "Who may open the cover?" --device {DEVICE} --broker {url} '
        f"--text 'Only an electrician may open the cover.'\n"
        f"Ctrl-C ends the demo."
    )
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print()


@contextmanager
def broker_process(folder: Path, port: int) -> Iterator[str]:
    """A Mosquitto of its own inside the block; its URL.

    Raises:
        BrokerError: it is not installed, or does not start.
    """
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:{_SBIN}")
    if program is None:
        raise BrokerError("mosquitto is not installed: apt-get install mosquitto mosquitto-clients")
    port = port or _free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
        "max_inflight_messages 0\nlog_dest none\n"
    )
    with own_process([program, "-c", str(config)], folder / "mosquitto.log", {}):
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _listens(port):
            if time.monotonic() > deadline:
                raise BrokerError(f"mosquitto does not listen on port {port}; is it taken?")
            time.sleep(0.02)
        yield f"mqtt://127.0.0.1:{port}"


@contextmanager
def _agent(folder: Path, url: str, device: str, repository: dict[str, str]) -> Iterator[Package]:
    """An agent inside the block, and the package that it serves."""
    settings = {
        "EDGEQA_AGENT_BROKER": url,
        "EDGEQA_AGENT_DEVICE": device,
        "EDGEQA_AGENT_GROUPS": GROUP,
        "EDGEQA_AGENT_LOG_FORMAT": "json",
        **repository,
    }
    command = [sys.executable, "-m", "edgeqa.cli", "agent", "run"]
    log = folder / f"{device}.log"
    with own_process(command, log, settings) as process:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _log_line(log, "agent_online"):
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace")
                raise EdgeqaError(f"the agent does not start:\n{said}", code="demo_failed")
            time.sleep(0.02)
        yield open_package(Path(json.loads(_log_line(log, "model_ready"))["package"]))


def _log_line(log: Path, event: str) -> str:
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = (line for line in lines if line.endswith("\n") and f'"{event}"' in line)
    return next(whole, "")


@contextmanager
def own_process(
    command: list[str], log: Path, settings: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs inside the block, apart from the terminal, with agent settings."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("EDGEQA_AGENT_")}
    state = {"EDGEQA_AGENT_STATE_DIR": str(log.with_suffix(".state"))}
    with log.open("wb") as file:
        # Its own session: a Ctrl-C at the terminal is for the demo, which then ends its processes.
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=file,
            env={**inherited, **state, **settings},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
