"""The part of the demo that changes an agent's model while questions flow."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from edgeqa.client import Client
from edgeqa.errors import AnswerError, EdgeqaError
from edgeqa.manifest import MANIFEST_FILE, Check, Package
from edgeqa.model_messages import ModelState, Verb
from edgeqa.operator import Operator, new_wish_id

# What is published in the demo's repository: the small default model under a name of the demo's.
NAME, VERSION = "demo-small", "1.0.0"
_CLIENTS = 4
_AFTER = 20  # questions that must be answered by the new model
_TIMEOUT_S = 60.0


@dataclass
class _Flow:
    """Clients that ask without pause, and what they were answered."""

    client: Client
    device: str
    checks: list[Check]
    by_model: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    lost: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask) for _ in range(_CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def count(self, model: str) -> int:
        with self._lock:
            return self.by_model.get(model, 0)

    def _ask(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                check = self.checks[self.asked % len(self.checks)]
                self.asked += 1
            try:
                answer = self.client.ask(
                    check.question, context=check.context, device=self.device, timeout_s=30.0
                )
            except AnswerError as error:
                self.lost.append(error.code)
                continue
            name = answer.model.name if answer.model else "unnamed"
            with self._lock:
                self.by_model[name] = self.by_model.get(name, 0) + 1


def publish(folder: Path) -> dict[str, str]:
    """Sign the small default package into a repository of the demo's own.

    Returns:
        Settings of an agent that trusts the repository.

    Raises:
        EdgeqaError: `demo_failed`, with what the command said.
    """
    named = folder / f"{NAME}-{VERSION}"
    shutil.copytree(_small_package(), named)
    manifest = json.loads((named / MANIFEST_FILE).read_bytes())
    manifest.update({"name": NAME, "version": VERSION})
    (named / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n")
    repository, keys = folder / "repository", folder / "keys"
    _models("repository", "init", repository, "--keys", keys, "--no-passphrase")
    _models("publish", repository, named, "--keys", keys)
    return {
        "EDGEQA_AGENT_REPOSITORY": repository.as_uri(),
        "EDGEQA_AGENT_REPOSITORY_ROOT": str(repository / "metadata" / "1.root.json"),
    }


def swap(
    client: Client, url: str, device: str, before: Package, console: Console
) -> Iterator[tuple[str, bool]]:
    """Swap and roll back while questions flow; what was seen, and whether it was right."""
    flow = _Flow(client, device, before.checks())
    with Operator(broker=url) as operator, flow.running():
        _until(lambda: flow.count(before.manifest.name) >= _AFTER)
        wish = new_wish_id()
        begun = time.monotonic()
        with operator.follow(device, wish, _TIMEOUT_S) as following:
            operator.wish(device, NAME, VERSION, wish_id=wish)
            told = None
            for report in following:
                if report.state != told:
                    console.print(f"         {report.state:<10} {time.monotonic() - begun:4.1f} s")
                told = report.state
        took_s = time.monotonic() - begun
        _until(lambda: flow.count(NAME) >= _AFTER)
        before_count = flow.count(before.manifest.name)
        seen = (
            f"swapped to {NAME} {VERSION}, fetched from a signed repository, in {took_s:.1f} s "
            f"while {_CLIENTS} clients asked: {before_count} answers by the old model, then "
            f"{flow.count(NAME)} by the new"
        )
        yield seen, told == ModelState.ACTIVE
        reply = operator.command(device, Verb.ROLLBACK, timeout_s=_TIMEOUT_S)
        back = reply.active is not None and reply.active.digest == before.digest
        _until(lambda: flow.count(before.manifest.name) >= before_count + _AFTER)
    answered = sum(flow.by_model.values())
    yield "rolled back by a command", back
    seen = f"{flow.asked} questions asked meanwhile, {answered} answered, {len(flow.lost)} lost"
    yield seen, answered == flow.asked and not flow.lost


def _small_package() -> Path:
    here = importlib.util.find_spec("edgeqa_agent")
    root = Path(here.origin).parent if here and here.origin else Path()
    for folder in (root / "packages", root.parents[1] / "models" / "packages"):
        for path in folder.glob("minilm-l3-distil-squad-*"):
            return path
    raise EdgeqaError("the small default package is not installed", code="demo_failed")


def _models(*arguments: object) -> None:
    command = [sys.executable, "-m", "edgeqa.cli", "models", *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise EdgeqaError(f"{' '.join(command)}: {ran.stderr.strip()}", code="demo_failed")


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise EdgeqaError("the questions do not flow", code="demo_failed")
        time.sleep(0.01)
