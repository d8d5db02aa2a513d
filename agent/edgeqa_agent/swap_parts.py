"""What a swapper works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from edgeqa.manifest import Package
from edgeqa.model_messages import Desired, Gates
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.loader import Loader
from edgeqa_agent.orders import Orders
from edgeqa_agent.reports import Reports
from edgeqa_agent.store import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """Of one agent.

    Attributes:
        obtain: gives the package of a wish, verified, on this device.
        announce: publishes the device's presence, which names its model.
        first: package to serve until one is wished for.
        admit: refuses a package that would not fit into the memory.
        gates: of this device.
    """

    orders: Orders
    store: Store
    obtain: Callable[[Desired], Package]
    loader: Loader
    dispatcher: Dispatcher
    reports: Reports
    announce: Callable[[], None]
    first: Path
    admit: Callable[[Package], None]
    gates: Gates
    log: FilteringBoundLogger
