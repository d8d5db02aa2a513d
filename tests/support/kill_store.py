"""Kill the store's work at each of its steps, for real, and keep what each kill leaves.

    python -m support.kill_store FAULT OUT SCENARIO BASE NEW EMBEDDED

copies the state folder BASE (if it is there) to OUT/0/state, OUT/1/state, … and runs the scenario
there in a child process of which the 0th, 1st, … step goes wrong (see `power_cut`), until one ends
by itself. OUT/n/said holds what the child had been told before it died; OUT/steps.json what the
steps were.

With an errno for FAULT the child must survive: each failure is a StoreError or a ConfigError,
memory and disk say the same after it, and the scenario succeeds when the disk is well again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from edgeqa.errors import ConfigError
from edgeqa.manifest import MANIFEST_FILE, Package
from edgeqa.messages import Fault
from edgeqa.model_messages import ModelState
from edgeqa_agent.state_bytes import decode
from edgeqa_agent.store import Store, StoreError, WishRecord
from edgeqa_agent.store_file import storing
from edgeqa_agent.store_state import StoreState
from support.power_cut import ENDS, Disk

MOST_STEPS = 400
QUOTA_BYTES = 1 << 20

Say = Callable[[str], None]


def silent() -> structlog.typing.FilteringBoundLogger:
    """Logs to nobody."""
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    made: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.ReturnLogger(), processors=[], wrapper_class=quiet
    )
    return made


def open_store(folder: Path, embedded: Path) -> Store:
    """The store of these tests."""
    return Store.open(folder, embedded=[embedded], quota_bytes=QUOTA_BYTES, log=silent())


def fetch(source: Path, into: Path) -> None:
    """As a fetch leaves a package: file by file, finished ones kept, nothing synced."""
    for path in sorted(source.iterdir()):
        part = into / f"{path.name}.part"
        if (into / path.name).exists():
            continue
        with storing("fetching"):  # the real one translates as well
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                os.write(handle, path.read_bytes())
            finally:
                os.close(handle)
            part.replace(into / path.name)


def record(package: Package, state: ModelState = ModelState.ACTIVE) -> WishRecord:
    """Of the wish for a package."""
    manifest = package.manifest
    return WishRecord(
        id=f"wish for {manifest.version}", state=state, name=manifest.name,
        version=manifest.version, digest=package.digest,
    )  # fmt: skip


def obtain(store: Store, source: Path) -> Package:
    """From the device or from elsewhere."""
    manifest = json.loads((source / MANIFEST_FILE).read_bytes())
    name, version = manifest["name"], manifest["version"]
    package = store.find(name, version, None)
    if package is None:
        staging = store.staging(name, version)
        fetch(source, staging)
        package = store.admit(staging)
    return package


def swap(store: Store, source: Path, say: Say) -> None:
    """All that a swap does on disk, with a command in between."""
    package = obtain(store, source)
    say("admitted")
    store.loading(package)
    store.accept_command(7)
    say("commanded")
    store.ready(package)
    store.activate(package, record(package))
    say("activated")
    store.prune(keep_quota=False)
    say("pruned")


def fail(store: Store, source: Path, say: Say) -> None:
    """A wish that comes to nothing once its package is loaded."""
    package = obtain(store, source)
    store.loading(package)
    store.record_wish(record(package, ModelState.FAILED))
    say("recorded")
    store.prune(keep_quota=False)


def back(store: Store, _source: Path, say: Say) -> None:
    """A rollback, once."""
    package = store.previous_package()
    assert package is not None
    store.loading(package)
    store.ready(package)
    if not store.state.given_up:
        store.step_back(reason=Fault(code="rolled_back", message="a command said so"))
    say("stepped back")


def boot(store: Store, _source: Path, say: Say) -> None:
    """A start; with a damaged current package, or one that was begun too often."""
    package = next(store.boot_order())
    say("booted")
    store.loading(package)
    store.ready(package)


SCENARIOS: dict[str, Callable[[Store, Path, Say], None]] = {
    "swap": swap, "fail": fail, "back": back, "boot": boot,
}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One step that goes wrong.

    Attributes:
        at: which.
        out: where this trial's folder is.
    """

    fault: str
    at: int
    out: Path
    scenario: str
    new: Path
    embedded: Path

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.out / str(self.at) / "state"

    def run(self) -> None:
        """In a process that is there for this alone."""
        disk = Disk(at=self.at, fault=self.fault, spare=self.state.with_name("spare"))
        say = _notes(self.state.with_name("said"))
        disk.install()
        if self.fault in ENDS:
            store = open_store(self.state, self.embedded)
            SCENARIOS[self.scenario](store, self.new, say)
            store.close()
        else:
            self._survive(disk, say)
        disk.mend()
        if self.at >= len(disk.steps):
            (self.out / "steps.json").write_text(json.dumps(disk.steps))

    def _survive(self, disk: Disk, say: Say) -> None:
        try:
            store = open_store(self.state, self.embedded)
        except ConfigError as error:
            if error.code != "store_unusable":
                raise
            disk.mend()
            store = open_store(self.state, self.embedded)
        with contextlib.suppress(StoreError):
            SCENARIOS[self.scenario](store, self.new, say)
        # Where a file could be replaced, but from then on nothing be synced or replaced again, the
        # disk may have the new one; nothing can be done then.
        stuck = self.fault == "EROFS" and disk.steps[self.at : self.at + 1] == ["sync"]
        assert stuck or store.state == self._on_disk(), "memory and disk differ"
        disk.mend()
        SCENARIOS[self.scenario](store, self.new, say)
        assert store.state == self._on_disk()
        store.close()

    def _on_disk(self) -> StoreState:
        path = self.state / "state.json"
        return decode(path.read_bytes()) if path.exists() else StoreState()


def _notes(path: Path) -> Say:
    handle, write = os.open(path, os.O_WRONLY | os.O_CREAT), os.write

    def say(what: str) -> None:
        write(handle, f"{what}\n".encode())

    return say


def main() -> None:
    """See the module."""
    fault, scenario = sys.argv[1], sys.argv[3]
    out, base, new, embedded = (Path(sys.argv[n]) for n in (2, 4, 5, 6))
    for at in range(MOST_STEPS):
        trial = Trial(fault, at, out, scenario, new, embedded)
        trial.state.parent.mkdir(parents=True)
        if base.exists():
            shutil.copytree(base, trial.state)
        child = os.fork()
        if child == 0:
            try:
                trial.run()
            except BaseException:  # noqa: BLE001  a child's edge
                traceback.print_exc()
                os._exit(9)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if not (killed and fault in ENDS) and status != 0:
            sys.exit(f"step {at}: ended with {status}")
        if (out / "steps.json").exists():
            return
    sys.exit("it never ends")


if __name__ == "__main__":
    main()
