"""Keeps a quicker model beside the active one, and the choice between them up to date.

The companion is a package that the settings name, as the first model is. It is verified, admitted
to the memory, proven and gated as any other, but the fleet does not roll it out: a wish changes the
active model and leaves it alone. Without it the active model answers everything, so whatever goes
wrong with it is logged, and tried again after ever longer pauses.

Thread: one of its own, begun once the agent serves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import ConfigError, EdgeqaError, ModelLoadError
from edgeqa.manifest import Package, open_package
from edgeqa.model_messages import Gates
from edgeqa.patience import Patience
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.gates import judge
from edgeqa_agent.loader import Loader
from edgeqa_agent.probes import temperature_celsius
from edgeqa_agent.settings import AgentSettings, default_package
from edgeqa_agent.store import Store
from edgeqa_agent.store_state import MAX_BOOT_ATTEMPTS

# How often the queue and the thermometer are looked at while no question comes.
_TICK_S = 1.0
# One that has lived so long is well again: its next death is the first.
_WELL_AFTER_S = 120.0


def companion_folder(settings: AgentSettings) -> Path | None:
    """The folder of the package: as set, or the embedded one of that name.

    Raises:
        ConfigError: there is neither.
    """
    companion = settings.companion
    if companion is None or companion.is_dir():
        return companion
    embedded = default_package().parent
    names = sorted(path.name for path in embedded.iterdir() if path.is_dir())
    for name in names:
        if str(companion) in {name, name.rpartition("-")[0]}:
            return embedded / name
    raise ConfigError(
        f"companion: {companion} is neither a folder nor an embedded package; those are "
        f"{', '.join(names)}"
    )


@dataclass(frozen=True, slots=True)
class Beside:
    """What a companion works with.

    Attributes:
        admit: refuses a package that would not fit into the memory beside what runs.
        gates: of this device.
        celsius: temperature of the processor; None where it is not known.
    """

    dispatcher: Dispatcher
    loader: Loader
    store: Store
    admit: Callable[[Package], None]
    gates: Gates
    log: FilteringBoundLogger
    celsius: Callable[[], float | None] = temperature_celsius


class Companion:
    """The one who looks after it.

    Args:
        folder: of its package; None: there is none, and nothing happens.
        beside: the parts of the agent.
    """

    def __init__(self, folder: Path | None, beside: Beside) -> None:
        self._folder = folder
        self._beside = beside
        self._dispatcher = beside.dispatcher
        self._log = beside.log
        self._patience = Patience()
        self._loaded_at = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="companion", daemon=True)

    def start(self) -> None:
        """Begin to load it, once the active model serves."""
        if self._folder is not None:
            self._thread.start()

    def stop(self) -> None:
        """Load it no more; what is loading ends with the dispatcher."""
        self._stopping.set()

    def join(self) -> None:
        """Wait for the thread's end, after the dispatcher was stopped."""
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        assert self._folder is not None  # noqa: S101  `start` looked
        while not self._stopping.is_set():
            try:
                self._step(self._folder, time.monotonic())
            except Exception:  # noqa: BLE001  a thread's edge; logged with its traceback
                self._log.exception("companion_failed")
            self._stopping.wait(_TICK_S)

    def _step(self, folder: Path, now: float) -> None:
        dispatcher = self._dispatcher
        dispatcher.look(depth=dispatcher.depth, celsius=self._beside.celsius())
        if dispatcher.companion is not None:
            if now - self._loaded_at > _WELL_AFTER_S:
                self._patience.succeeded()
        elif dispatcher.active is not None and not self._patience.left_s(now):
            self._patience.failed(now)  # until it has lived for a while
            try:
                self._load(open_package(folder))
            except EdgeqaError as error:
                if not self._stopping.is_set():
                    what = {"package": str(folder), "code": error.code, "reason": str(error)}
                    self._log.error("companion_not_loaded", **what)

    def _load(self, package: Package) -> None:
        beside, store = self._beside, self._beside.store
        if package.ref == self._dispatcher.model:
            raise ModelLoadError("it is the model that answers already; name another package")
        if store.state.attempts(package.digest) >= MAX_BOOT_ATTEMPTS:
            raise ModelLoadError(
                f"the device went down {MAX_BOOT_ATTEMPTS} times while it was loaded; name another "
                "package",
                code="model_keeps_dying",
            )
        beside.admit(package)
        store.loading(package)
        lane = beside.loader.prepare(package)
        try:
            judge(beside.loader.load(lane).scores, beside.gates)
        except EdgeqaError:
            self._dispatcher.discard(lane)
            raise
        finally:
            self._survived(package)
        self._dispatcher.accompany(lane)
        self._loaded_at = time.monotonic()
        model = package.ref
        self._log.info("companion_serves", model=model.name, version=model.version)

    def _survived(self, package: Package) -> None:
        """However its load ended: it did not take the device down."""
        try:
            self._beside.store.ready(package)
        except EdgeqaError as error:
            self._log.error("not_noted", code=error.code, reason=str(error))
