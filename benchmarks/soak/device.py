"""The agent under test: a real one with a state folder of its own, its swaps and its memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from subprocess import Popen

import structlog

from edgeqa.errors import DataError, EdgeqaError
from edgeqa.manifest import Package
from edgeqa.model_messages import ModelState
from edgeqa.operator import Operator, new_wish_id
from edgeqa.processes import own_process
from edgeqa_agent.settings import default_package
from edgeqa_agent.store import Store
from soak.memory import Peaks

DEVICE = "bench"
_START_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Swap:
    """One wish and what came of it; times as `time.monotonic()` gives them."""

    source: str
    target: str
    begun_at: float
    ended_at: float
    state: str
    peak_mib: float


class Device:
    """An agent that runs, and an operator who wishes."""

    def __init__(self, process: Popen[bytes], operator: Operator, package: Package) -> None:
        self._process = process
        self._operator = operator
        self.active = package

    @property
    def pid(self) -> int:
        """Of the agent's main process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the agent runs."""
        return self._process.poll() is None

    def await_active(self) -> None:
        """Wait until it reports its first model.

        Raises:
            DataError: it does not start.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline and self.alive:
            report = self._operator.reported(DEVICE, timeout_s=1.0)
            if report is not None and report.active == self.active.ref:
                return
        name = self.active.manifest.name
        raise DataError(
            f"the agent does not come to serve {name}; see its log in the output folder"
        )

    def swap(self, package: Package, *, timeout_s: float) -> Swap:
        """Wish for a package and wait for the final report; never raises for a failed swap."""
        source, wish_id = self.active, new_wish_id()
        state = "superseded"
        begun_at = time.monotonic()
        with Peaks(self.pid) as peaks:
            try:
                following = self._operator.follow(DEVICE, wish_id, timeout_s)
                with following:
                    begun_at = time.monotonic()
                    ref = package.ref
                    self._operator.wish(
                        DEVICE, ref.name, ref.version, digest=ref.digest, wish_id=wish_id
                    )
                    for report in following:
                        state = str(report.state)
                        if report.reason is not None:
                            state += f" [{report.reason.code}]"
            except EdgeqaError as error:
                state = f"no end [{error.code}]"
            ended_at = time.monotonic()
        if state == ModelState.ACTIVE:
            self.active = package
        return Swap(
            source.digest, package.digest, begun_at, ended_at, state, round(peaks.peak_mib, 1)
        )


@contextmanager
def running_device(
    url: str, packages: Sequence[Package], *, folder: Path, log: Path, settings: dict[str, str]
) -> Iterator[Device]:
    """An agent that serves the first package and has the others on its disk.

    Raises:
        EdgeqaError: it does not start.
    """
    state = folder / "state"
    _stock(state, packages)
    environment = {
        "EDGEQA_AGENT_BROKER": url,
        "EDGEQA_AGENT_DEVICE": DEVICE,
        "EDGEQA_AGENT_PACKAGE": str(packages[0].path),
        "EDGEQA_AGENT_STATE_DIR": str(state),
        "EDGEQA_AGENT_LOG_FORMAT": "json",
        "EDGEQA_AGENT_ANSWER_CACHE_ENTRIES": "0",  # each question is to be work for the model
        **{f"EDGEQA_AGENT_{name.upper()}": value for name, value in settings.items()},
    }
    command = [sys.executable, "-m", "edgeqa.cli", "agent", "run"]
    with own_process(command, log, environment) as process, Operator(broker=url) as operator:
        device = Device(process, operator, packages[0])
        device.await_active()
        yield device


def _stock(state: Path, packages: Sequence[Package]) -> None:
    """Put packages that are not part of the installation where a fetch would have put them."""
    embedded = [packages[0].path, *sorted(default_package().parent.iterdir())]
    store = Store.open(state, embedded=embedded, quota_bytes=1 << 40, log=structlog.get_logger())
    with closing(store):
        for package in packages[1:]:
            ref = package.ref
            if store.find(ref.name, ref.version, ref.digest) is None:
                staging = store.staging(ref.name, ref.version)
                copytree(package.path, staging, dirs_exist_ok=True)
                store.admit(staging)
