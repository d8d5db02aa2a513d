"""A collector that is killed after its first commit, before it acknowledges anything.

    python -m support.kill_collector

with the settings of `edgeqa cloud collect` in the environment.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import structlog

from edgeqa.acks import Receipt
from edgeqa.logs import configure_logs
from edgeqa.settings import load_settings
from edgeqa_cloud.collector import Collector
from edgeqa_cloud.intake_link import IntakeLink
from edgeqa_cloud.settings import CloudSettings


class CutOff(IntakeLink):
    """Its right to acknowledge comes too late."""

    def acknowledge_all(self, receipts: Sequence[Receipt]) -> None:
        if receipts:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """See the module."""
    settings = load_settings(CloudSettings)
    configure_logs(level="info", fmt="json")
    Collector(settings=settings, log=structlog.get_logger(), link_type=CutOff).run()


if __name__ == "__main__":
    main()
