"""Appends and marks until it is killed, and says of each what it was told.

    python -m support.kill_outbox FILE BOOT_ID

writes `a SEQ` after each append and `m SEQ` after each mark to its output.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgeqa.outbox import Outbox, OutboxFile
from edgeqa.telemetry_messages import Telemetry
from edgeqa.uptime import uptime_clock
from support.kill_store import silent


def main() -> None:
    """See the module."""
    path, boot_id = sys.argv[1:]
    file = OutboxFile(Path(path), log=silent())
    outbox = Outbox(
        file=file, device="pi-1", boot_id=boot_id, uptime_ms=uptime_clock(), log=silent()
    )
    while True:
        record = outbox.append(Telemetry, interval_s=60)
        print("a", record.seq, flush=True)
        if record.seq % 3 == 0:
            waiting = outbox.waiting(after=0, limit=2)
            outbox.mark_sent([row.id for row in waiting])
            for row in waiting:
                told = json.loads(row.payload)
                print("m", told["boot_id"], told["seq"], flush=True)


if __name__ == "__main__":
    main()
