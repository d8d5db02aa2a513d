"""What an idle device sends and receives in a day, on the wire, with default settings.

A real agent and a real Mosquitto stand in two network namespaces that are joined by a cable of
their own (a veth pair), so that everything on it is theirs: Ethernet, IP and TCP headers,
keep-alive and acknowledgements included. At the broker's end a subscriber listens to what the
device tells, as a collector would, and each frame is counted by what it is for. The sum is compared
with the counters of the device's network interface.

    sudo .venv/bin/python benchmarks/idle_traffic.py --minutes 35

Exit code 1 if a day is above the limit.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from wire.frames import Tally
from wire.namespaces import BROKER_ADDRESS, Cable, cable

from edgeqa.errors import BrokerError, DataError
from edgeqa.processes import log_line, own_process
from edgeqa.topics import Kind
from edgeqa_agent.settings import AgentSettings

DEVICE = "raspberrypi"  # the host name that Raspberry Pi OS comes with
_DAY_S = 86_400.0
# From the frame as the counters have it to the time that it takes on a cable: preamble, check sum
# and gap. Source: IEEE 802.3, sections 3.1 and 4.4.2.
_FRAME_EXTRA_BYTES = 24
_START_TIMEOUT_S = 60.0
# After it is online the device says what it is and has; from then on it is idle.
_SETTLE_S = 15.0
_POLL_S = 0.1


@dataclass(frozen=True)
class Look:
    """What was counted up to a moment."""

    at: float
    kinds: dict[str, Tally]
    counters: dict[str, int]
    payload_bytes: dict[str, list[int]]
    last: dict[str, str]

    @property
    def interface_bytes(self) -> int:
        """Both ways, as the device's interface counts them."""
        return self.counters["tx_bytes"] + self.counters["rx_bytes"]


def main(
    minutes: Annotated[
        float, typer.Option(min=0.5, help="Length of the idle time that is measured.")
    ] = 35.0,
    limit_mb: Annotated[float, typer.Option(help="Most in a day, 10^6 bytes.")] = 1.0,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the agent, NAME=VALUE, to see what it changes."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("bench-out"),
) -> None:
    """Measure, print a table, and write idle-traffic.json and idle-traffic.md."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and leave no namespace behind
    settings = dict(one.split("=", 1) for one in setting or [])
    console = Console(highlight=False)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        wires = stack.enter_context(cable())
        stack.enter_context(_broker(wires, folder))
        watch = stack.enter_context(_watch(wires, folder))
        begun = _look(wires, watch)
        stack.enter_context(_agent(wires, folder, settings))
        time.sleep(_SETTLE_S)
        idle = _look(wires, watch)
        console.print(f"the device is idle; measuring for {minutes:g} minutes")
        time.sleep(60 * minutes)
        ended = _look(wires, watch)
    report = _report(begun, idle, ended, settings)
    output.mkdir(parents=True, exist_ok=True)
    (output / "idle-traffic.json").write_text(json.dumps(report, indent=2) + "\n")
    markdown = _markdown(report)
    (output / "idle-traffic.md").write_text(markdown)
    console.print(markdown)
    if report["day_bytes"] > 1e6 * limit_mb:
        raise typer.Exit(1)


@contextmanager
def _broker(wires: Cable, folder: Path) -> Iterator[None]:
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener 1883 {BROKER_ADDRESS}\nlistener 1883 127.0.0.1\nallow_anonymous true\n"
        "set_tcp_nodelay true\nlog_dest stderr\nuser root\n"
    )
    command = wires.on_broker(["/usr/sbin/mosquitto", "-v", "-c", str(config)])
    with own_process(command, folder / "mosquitto.log", {}):
        _wait(lambda: "running" in (folder / "mosquitto.log").read_text(errors="replace"))
        yield


@contextmanager
def _watch(wires: Cable, folder: Path) -> Iterator[subprocess.Popen[str]]:
    watcher = Path(__file__).parent / "wire" / "watch.py"
    with (folder / "watch.log").open("w") as log:
        process = subprocess.Popen(
            wires.on_broker([sys.executable, str(watcher), "mqtt://127.0.0.1:1883"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={"PYTHONPATH": str(watcher.parents[1])},
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "ready\n":
            raise DataError(f"the watcher does not start: {(folder / 'watch.log').read_text()}")
        yield process
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


@contextmanager
def _agent(wires: Cable, folder: Path, settings: dict[str, str]) -> Iterator[None]:
    environment = {
        "EDGEQA_AGENT_BROKER": f"mqtt://{BROKER_ADDRESS}:1883",
        "EDGEQA_AGENT_DEVICE": DEVICE,
        **{f"EDGEQA_AGENT_{name.upper()}": value for name, value in settings.items()},
    }
    command = wires.on_device([sys.executable, "-m", "edgeqa.cli", "agent", "run"])
    log = folder / "agent.log"
    with own_process(command, log, environment):
        _wait(lambda: bool(log_line(log, "agent_online")))
        yield


def _wait(there: Any) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not there():
        if time.monotonic() > deadline:
            raise BrokerError("broker or agent did not start within a minute")
        time.sleep(_POLL_S)


def _look(wires: Cable, watch: subprocess.Popen[str]) -> Look:
    assert watch.stdin is not None
    assert watch.stdout is not None
    watch.stdin.write("\n")
    watch.stdin.flush()
    said = json.loads(watch.stdout.readline())
    return Look(
        at=time.monotonic(),
        kinds={kind: Tally(**tally) for kind, tally in said["kinds"].items()},
        counters=wires.counters(),
        payload_bytes=said["payload_bytes"],
        last=said["last"],
    )


def _report(begun: Look, idle: Look, ended: Look, settings: dict[str, str]) -> dict[str, Any]:
    seconds = ended.at - idle.at
    interval_s = float(
        settings.get(
            "evaluation_interval_s", AgentSettings.model_fields["evaluation_interval_s"].default
        )
    )
    rows = []
    for kind, tally in ended.kinds.items():
        before = idle.kinds.get(kind, Tally())
        up, down = tally.up_bytes - before.up_bytes, tally.down_bytes - before.down_bytes
        told = ended.payload_bytes.get(kind, [])[len(idle.payload_bytes.get(kind, [])) :]
        times = _DAY_S / seconds
        if kind == Kind.EVALUATION and told:
            # So seldom that its part of a short time says nothing: as its schedule has it.
            times = _DAY_S / interval_s / len(told)
        rows.append(
            {
                "kind": kind,
                "messages": tally.messages - before.messages,
                "frames": tally.frames - before.frames,
                "up_bytes": up,
                "down_bytes": down,
                "day_bytes": round((up + down) * times),
                "payload_bytes": round(sum(told) / len(told)) if told else None,
            }
        )
    rows.sort(key=lambda row: -row["day_bytes"])
    frames = sum(
        ended.counters[name] - idle.counters[name] for name in ("tx_packets", "rx_packets")
    )
    start_bytes = idle.interface_bytes - begun.interface_bytes
    day = sum(row["day_bytes"] for row in rows) + start_bytes
    return {
        "seconds": round(seconds, 1),
        "settings": settings,
        "kinds": rows,
        "frames": frames,
        "idle_bytes": ended.interface_bytes - idle.interface_bytes,
        "seen_bytes": sum(row["up_bytes"] + row["down_bytes"] for row in rows),
        "start_bytes": start_bytes,
        "day_bytes": day,
        "day_bytes_on_cable": round(day + _FRAME_EXTRA_BYTES * frames * _DAY_S / seconds),
        "last": {kind: json.loads(text) for kind, text in ended.last.items()},
    }


def _markdown(report: dict[str, Any]) -> str:
    changed = ", ".join(f"{name}={value}" for name, value in report["settings"].items())
    lines = [
        f"An idle device for {report['seconds'] / 60:.1f} minutes, "
        + (f"with {changed}" if changed else "default settings")
        + ". Bytes with Ethernet, IP and TCP headers, both ways.",
        "",
        "| for | messages | frames | from the device | to the device | a day | payload |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(row) for row in report["kinds"] if row["frames"]]
    lines += [
        "",
        f"Counted by the interface: {report['idle_bytes']:,} bytes in {report['frames']} frames "
        f"(seen by kind: {report['seen_bytes']:,}); the start took {report['start_bytes']:,} more.",
        "",
        f"**A day: {report['day_bytes'] / 1e6:.3f} MB**, with one start in it; with preamble, "
        f"check sum and gap of each frame {report['day_bytes_on_cable'] / 1e6:.3f} MB.",
    ]
    return "\n".join(lines) + "\n"


def _row(row: dict[str, Any]) -> str:
    return (
        f"| {row['kind']} | {row['messages'] or ''} | {row['frames']} | {row['up_bytes']:,} "
        f"| {row['down_bytes']:,} | {row['day_bytes'] / 1000:,.1f} kB "
        f"| {row['payload_bytes'] or ''} |"
    )


if __name__ == "__main__":
    typer.run(main)
