"""What rolling an hour up costs for each device: `python benchmarks/rollups.py`.

The hour is stored by the collector's own writer, from records as a device sends them, into a
SQLite file in a temporary folder; then its roll-up is timed, hour and day.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import structlog
from load_packets import payload

from edgeqa_cloud.database import Database
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.quarantine import Keep
from edgeqa_cloud.reading import Arrival, read
from edgeqa_cloud.rollups import Rollups
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.storage import Storage

_MINUTE_MS, _HOUR_MS = 60_000, 3_600_000
_MOST_BYTES = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=500)
    parser.add_argument("--records", type=int, default=60, help="Of each device in the hour.")
    options = parser.parse_args()
    hour_ms = round(time.time() * 1000) // _HOUR_MS * _HOUR_MS - 2 * _HOUR_MS
    with (
        tempfile.TemporaryDirectory() as folder,
        Database.of(DatabaseSettings(database=f"sqlite:///{Path(folder)}/cloud.db")) as database,
    ):
        migrate(database)
        fill(database, options.devices, options.records, hour_ms)
        rollups = Rollups(database=database, log=structlog.get_logger())
        began, began_cpu, hours = time.monotonic(), time.process_time(), 0
        while done := rollups.roll_up(now_ms=hour_ms + 3 * _HOUR_MS):
            hours += done
        seconds, cpu = time.monotonic() - began, time.process_time() - began_cpu
        if hours != options.devices:
            raise SystemExit(f"{hours} hours rolled up of {options.devices}")
        print(
            f"{hours} hours of {options.records} records: {1000 * seconds / hours:.2f} ms each, "
            f"{1000 * cpu / hours:.2f} ms of processor time"
        )


def fill(database: Database, devices: int, records: int, hour_ms: int) -> None:
    storage = Storage(database=database, keep=Keep(rows=1, payload_bytes=1))
    rng = random.Random(0)
    bodies = [payload(f"load-{number:05}", "boot", rng) for number in range(devices)]
    for minute in range(records):
        at_ms = hour_ms + minute * (_HOUR_MS // records)
        arrivals = []
        for body in bodies:
            said = body | {"seq": minute + 1, "time_ms": at_ms, "uptime_ms": minute * _MINUTE_MS}
            raw = json.dumps(said, separators=(",", ":")).encode()
            topic = f"edgeqa/v1/devices/{body['device']}/telemetry"
            arrivals.append(Arrival(topic, raw, len(raw), at_ms))
        items = [item for one in arrivals if (item := read(one, most_bytes=_MOST_BYTES))]
        storage.store(items)


if __name__ == "__main__":
    main()
