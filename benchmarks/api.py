"""The API at a fleet's size: `python benchmarks/api.py`.

Makes a database of 10,000 devices with 30 days of roll-ups (hours and days), evaluations and two
hours of records, as collectors leave them, starts a real server process on it, and asks what the
overview, the list of devices and a device's page ask, over HTTP, one after the other and in turns.
Printed are median, 95th percentile and maximum in ms, as a client sees them.

    python benchmarks/api.py --database sqlite --rounds 100
    python benchmarks/api.py --database postgresql --rounds 100
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from api_fleet import fill, with_accounts
from rows.databases import database_url

from edgeqa.processes import broker_process, edgeqa_process, free_port
from edgeqa_cloud.database import Database
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.settings import DatabaseSettings

PASSWORD = "a password for a benchmark"  # noqa: S105  of a database that is deleted
# Pages and the calls that they make; `{device}` is another device each time.
PATHS = (
    "/api/v1/fleet",
    "/api/v1/fleet/history?since=30d",
    "/api/v1/fleet/history?since=24h",
    "/api/v1/fleet/alarms",
    "/api/v1/devices?limit=50",
    "/api/v1/devices?limit=50&sort=em&descending=true&offset={offset}",
    "/api/v1/devices?limit=50&text=7{digit}",
    "/api/v1/devices?limit=50&presence=online&group=site-3&query=memory%3E%3D4",
    "/api/v1/devices/{device}",
    "/api/v1/devices/{device}/history?since=30d",
    "/api/v1/devices/{device}/serving?since=30d",
    "/api/v1/devices/{device}/history?since=24h",
    "/api/v1/devices/{device}/telemetry?limit=50",
    "/api/v1/evaluations?limit=50",
    "/",
    "/devices",
    "/devices?q=7{digit}&sort=-em",
    "/devices/{device}?range=30d",
)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--pause-s", type=float, default=0.0, help="Between two rounds.")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeqa-api-")))
        folder.chmod(0o755)
        url = stack.enter_context(database_url(options.database, folder))
        began = time.monotonic()
        with Database.of(DatabaseSettings(database=url, sqlite_synchronous="normal")) as database:
            migrate(database)
            rows = fill(database, devices=options.devices, days=options.days,
                        now_ms=round(time.time() * 1000))  # fmt: skip
            with_accounts(database, PASSWORD)
        print(f"{options.database}: {rows:,} rows in {time.monotonic() - began:.0f} s")
        client = stack.enter_context(_server(folder, url))
        _measure(client, options.devices, options.rounds, options.pause_s)


def _measure(client: httpx.Client, devices: int, rounds: int, pause_s: float) -> None:
    chance = random.Random(7)
    times: dict[str, list[float]] = {path: [] for path in PATHS}
    for number in range(rounds + 1):
        for path in chance.sample(PATHS, len(PATHS)):
            target = path.format(
                device=f"device-{chance.randrange(devices):06}",
                offset=chance.randrange(devices), digit=chance.randrange(10),
            )  # fmt: skip
            began = time.perf_counter()
            response = client.get(target)
            took = time.perf_counter() - began
            if response.status_code != httpx.codes.OK:
                raise SystemExit(f"{target}: {response.status_code} {response.text[:300]}")
            if number:  # the first one warms up
                times[path].append(took * 1000)
        time.sleep(pause_s)
    print(f"{'':64}{'median':>9}{'p95':>9}{'max':>9}   ms, {rounds} each")
    for path in PATHS:
        some = sorted(times[path])
        p95 = some[min(len(some) - 1, round(0.95 * len(some)))]
        print(f"{path:64}{statistics.median(some):9.1f}{p95:9.1f}{some[-1]:9.1f}")


@contextmanager
def _server(folder: Path, database: str) -> Iterator[httpx.Client]:
    """`edgeqa cloud run`'s server in a process of its own, and a client that has logged in."""
    port = free_port()
    settings = {
        "EDGEQA_CLOUD_DATABASE": database,
        "EDGEQA_CLOUD_LISTEN": f"127.0.0.1:{port}",
        "EDGEQA_CLOUD_METRICS_LISTEN": "off",
        "EDGEQA_CLOUD_LOG_FORMAT": "json",
        "XDG_STATE_HOME": str(folder / "state"),
    }
    with broker_process(folder, free_port()) as broker:
        settings["EDGEQA_CLOUD_BROKER"] = broker
        log = folder / "cloud.log"
        with edgeqa_process(["cloud", "run"], log, settings, ready="presence_read"):
            base = f"http://127.0.0.1:{port}"
            headers = {"Origin": base}
            with httpx.Client(base_url=base, timeout=60.0, headers=headers) as client:
                body = {"name": "bench", "password": PASSWORD}
                client.post("/api/v1/session", json=body).raise_for_status()
                yield client


if __name__ == "__main__":
    main()
