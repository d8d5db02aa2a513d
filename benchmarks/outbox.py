"""What an outbox takes: bytes of a record, time of an append, a full one opened, a day replayed.

    .venv/bin/python benchmarks/outbox.py --folder /var/tmp

The records are the examples of the contract, which are of the size that an agent writes. The day is
1,440 records of serving and 24 evaluations; it goes through a real Mosquitto that is started for it
to a subscriber, with the agent's window, link and thread. Times are medians over the rounds, each
of which works in a folder of its own.
"""

from __future__ import annotations

import json
import logging
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console

from edgeqa.broker import Broker, BrokerSettings, resolve_broker
from edgeqa.mqtt import Limits, MqttLink
from edgeqa.outbox import Bounds, Outbox, OutboxFile
from edgeqa.outbox_rows import ROW_BYTES
from edgeqa.packets import Delivery, Subscription
from edgeqa.processes import free_port
from edgeqa.telemetry_examples import EVALUATIONS, SWAPS, TELEMETRY
from edgeqa.telemetry_messages import Evaluation, Record, SwapReport, Telemetry
from edgeqa.topics import DeviceTopics
from edgeqa.uptime import uptime_clock
from edgeqa_agent.outbound import Outbound

DEVICE = "raspberrypi"
_OF_THE_OUTBOX = {"schema", "device", "boot_id", "seq", "time_ms", "uptime_ms"}
_TIMEOUT_S = 120.0

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
_LOG = structlog.get_logger()


def _fields(example: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in example.items() if name not in _OF_THE_OUTBOX}


SERVING = _fields(TELEMETRY["serving"])
SCORES = _fields(EVALUATIONS["afterSwap"])
SWAP = _fields(SWAPS["active"])
KINDS: dict[str, tuple[type[Record], dict[str, Any]]] = {
    "telemetry": (Telemetry, SERVING),
    "telemetry, idle": (Telemetry, {k: v for k, v in SERVING.items() if k != "latency"}),
    "evaluation": (Evaluation, SCORES),
    "swap": (SwapReport, SWAP),
}


def _outbox(file: OutboxFile, bounds: Bounds | None = None) -> Outbox:
    return Outbox(
        file=file,
        device=DEVICE,
        boot_id="0" * 32,
        uptime_ms=uptime_clock(),
        bounds=bounds,
        log=_LOG,
    )


@contextmanager
def _opened(
    folder: Path, *, durable: bool = True, bounds: Bounds | None = None
) -> Iterator[Outbox]:
    with OutboxFile(folder / "outbox.sqlite", log=_LOG, durable=durable) as file:
        yield _outbox(file, bounds)


def _disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("outbox.sqlite"))


def sizes(folder: Path, count: int) -> dict[str, Any]:
    """Bytes of each kind of record, as a message and in the file."""
    found = {}
    for name, (record_type, fields) in KINDS.items():
        with tempfile.TemporaryDirectory(dir=folder) as place:
            here = Path(place)
            with _opened(here, durable=False) as outbox:
                payload = outbox.append(record_type, **fields).to_json()
                for _ in range(count - 1):
                    outbox.append(record_type, **fields)
                counted = outbox.state().bytes / count
            found[name] = {
                "payload_bytes": len(payload),
                "counted_bytes": round(counted),
                "file_bytes": round(_disk_bytes(here) / count),
            }
    return found


def appends(folder: Path, count: int, *, durable: bool) -> list[float]:
    """Milliseconds of each append."""
    took = []
    with (
        tempfile.TemporaryDirectory(dir=folder) as place,
        _opened(Path(place), durable=durable) as outbox,
    ):
        for _ in range(count):
            begun = time.perf_counter()
            outbox.append(Telemetry, **SERVING)
            took.append(1000 * (time.perf_counter() - begun))
    return took


def full(folder: Path) -> dict[str, Any]:
    """A full outbox: its file, and how long the first record of the next start takes."""
    bounds = Bounds()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        here = Path(place)
        with _opened(here, durable=False, bounds=bounds) as outbox:
            records = 0
            while not outbox.state().dropped:
                outbox.append(Telemetry, **SERVING)
                records += 1
        begun = time.perf_counter()
        with _opened(here, bounds=bounds) as outbox:
            outbox.append(Telemetry, **SERVING)
            opened_ms = 1000 * (time.perf_counter() - begun)
        return {
            "records": records - 1,
            "days_of_a_record_a_minute": round((records - 1) / 1440, 1),
            "file_bytes": _disk_bytes(here),
            "open_and_append_ms": round(opened_ms, 1),
        }


def replay(folder: Path, broker: Broker) -> dict[str, Any]:
    """A day that waits, from the connection to the last acknowledgement that is noted."""
    got: list[int] = []
    done = threading.Event()

    def on_record(delivery: Delivery) -> None:
        reader.acknowledge(delivery)
        got.append(json.loads(delivery.payload)["seq"])
        if len(got) == count:
            done.set()

    topics = DeviceTopics(DEVICE)
    reader = MqttLink(
        broker=broker,
        client_id="outbox-reader",
        subscriptions=[
            Subscription(topics.record(kind), on_record) for kind in ("telemetry", "evaluation")
        ],
        log=_LOG,
    )

    def ready() -> None:
        outbound.connected()

    with tempfile.TemporaryDirectory(dir=folder) as place:
        with _opened(Path(place), durable=False) as outbox:
            for minute in range(1440):
                outbox.append(Telemetry, **SERVING)
                if minute % 60 == 0:
                    outbox.append(Evaluation, **SCORES)
            count = outbox.state().waiting
        with _opened(Path(place)) as outbox:
            link = MqttLink(
                broker=broker,
                client_id="outbox-device",
                subscriptions=[],
                log=_LOG,
                on_ready=ready,
                limits=Limits(session_expiry_s=60),
            )
            outbound = Outbound(outbox=outbox, link=link, beat_s=60, log=_LOG)
            reader.start()
            outbound.start()
            begun = time.perf_counter()
            link.start()
            arrived = done.wait(_TIMEOUT_S)
            noted = outbound.flush(timeout_s=_TIMEOUT_S)
            took_s = time.perf_counter() - begun
            for part in (link, outbound, reader):
                part.stop()
    assert arrived
    assert noted
    return {"records": count, "seconds": took_s, "in_order": got == list(range(1, count + 1))}


@contextmanager
def _mosquitto(folder: Path) -> Iterator[Broker]:
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="utf-8")
    process = subprocess.Popen(
        ["mosquitto", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield resolve_broker(BrokerSettings(broker=f"mqtt://127.0.0.1:{port}"))
    finally:
        process.terminate()
        process.wait(10)


def _quantiles(took: list[float]) -> dict[str, float]:
    ordered = sorted(took)
    return {
        "p50_ms": round(statistics.median(ordered), 3),
        "p99_ms": round(ordered[int(0.99 * (len(ordered) - 1))], 3),
    }


def main(
    folder: Annotated[
        Path | None, typer.Option(help="On the disk to measure; the system's if not said.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    count: Annotated[int, typer.Option(min=10, help="Records of a round.")] = 500,
    output: Annotated[Path, typer.Option()] = Path("bench-out/outbox.json"),
) -> None:
    """See the module."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        broker = stack.enter_context(_mosquitto(place))
        synced: list[float] = []
        unsynced: list[float] = []
        days = []
        for _ in range(rounds):
            synced += appends(place, count, durable=True)
            unsynced += appends(place, count, durable=False)
            days.append(replay(place, broker))
        report = {
            "sizes": sizes(place, count),
            "row_bytes": ROW_BYTES,
            "append_durable": _quantiles(synced),
            "append_not_durable": _quantiles(unsynced),
            "full": full(place),
            "day": {
                "records": days[0]["records"],
                "seconds": round(statistics.median(day["seconds"] for day in days), 2),
                "in_order": all(day["in_order"] for day in days),
            },
        }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    Console().print_json(data=report)
    sys.exit(0 if report["day"]["in_order"] else 1)


if __name__ == "__main__":
    typer.run(main)
