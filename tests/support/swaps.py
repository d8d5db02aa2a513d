"""What tests of model swaps share: packages made of a default one, wishes, and what is reported."""

from __future__ import annotations

import hashlib
import json
import queue
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import structlog

from edgeqa.manifest import Package, open_package
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Outgoing, Subscription
from edgeqa.topics import DeviceTopics, client_answers
from support.agents import DEVICE
from support.broker import Broker

PACKAGES = Path(__file__).parents[2] / "models" / "packages"
L6 = open_package(next(PACKAGES.glob("minilm-l6-squad-*")))
L3 = open_package(next(PACKAGES.glob("minilm-l3-distil-squad-*")))
FINAL = {"active", "failed", "rolled_back"}


def variant(
    folder: Path,
    version: str,
    *,
    source: Package = L3,
    edit: Callable[[Path], None] | None = None,
    **fields: Any,
) -> Path:
    """A copy of a package under another version, its files edited, with a true manifest."""
    path = folder / f"{source.manifest.name}-{version}"
    shutil.copytree(source.path, path)
    if edit is not None:
        edit(path)
    manifest = json.loads((path / "manifest.json").read_bytes())
    for name in manifest["files"]:
        content = (path / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if manifest["files"][name]["sha256"] != digest:
            manifest["cards"] = []  # they name the model that was measured
        manifest["files"][name] = {"sha256": digest, "bytes": len(content)}
    manifest.update({"version": version, **fields})
    (path / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return path


class Watcher:
    """Wishes and commands to one device, and everything it reports, in order."""

    def __init__(self, broker: Broker, *, device: str = DEVICE) -> None:
        self.topics = DeviceTopics(device)
        self.reports: list[dict[str, Any]] = []
        self._news: queue.Queue[dict[str, Any]] = queue.Queue()
        self._replies: queue.Queue[dict[str, Any]] = queue.Queue()
        self._response_topic = client_answers(f"watch-{uuid.uuid4().hex[:8]}")
        self._link = MqttLink(
            broker=broker.address(),
            client_id=self._response_topic.split("/")[-2],
            subscriptions=[
                Subscription(self.topics.reported, self._on_report),
                Subscription(self._response_topic, self._on_reply),
            ],
            log=structlog.get_logger(),
        )

    def __enter__(self) -> Self:
        self._link.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._link.stop()

    def wish(self, model: Package | Path | None = None, **fields: Any) -> str:
        """Publish a wish; its id."""
        package = open_package(model) if isinstance(model, Path) else model
        wish = {"schema": 1, "id": uuid.uuid4().hex, **fields}
        if package is not None:
            wish |= {"name": package.manifest.name, "version": package.manifest.version}
        self.publish(json.dumps(wish).encode())
        return str(wish["id"])

    def publish(self, payload: bytes) -> None:
        """Publish whatever as a wish."""
        self._link.publish(Outgoing(self.topics.desired, payload, retain=True))

    def outcome(self, wish: str, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """The final report on a wish."""
        return self.until(
            lambda report: report.get("wish") == wish and report["state"] in FINAL, timeout_s
        )

    def until(
        self, condition: Callable[[dict[str, Any]], bool], timeout_s: float = 60.0
    ) -> dict[str, Any]:
        """The first report that meets the condition, of those that were not looked at yet."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                report = self._news.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no such report; there were {self.reports}") from None
            if condition(report):
                return report

    def states(self, wish: str) -> list[str]:
        """The states of a wish so far, each once."""
        states = [report["state"] for report in self.reports if report.get("wish") == wish]
        return list(dict.fromkeys(states))

    def command(self, verb: str, *, retain: bool = False, **fields: Any) -> dict[str, Any]:
        """Send a command; its reply."""
        now_ms = int(time.time() * 1000)
        payload = {"schema": 1, "number": now_ms, "expires_ms": now_ms + 10_000, **fields}
        self._link.publish(
            Outgoing(
                self.topics.command(verb),
                json.dumps(payload).encode(),
                retain=retain,
                response_topic=self._response_topic,
                correlation=b"c",
            )
        )
        return self._replies.get(timeout=60)

    def _on_report(self, delivery: Delivery) -> None:
        self._link.acknowledge(delivery)
        report = json.loads(delivery.payload)
        self.reports.append(report)
        self._news.put(report)

    def _on_reply(self, delivery: Delivery) -> None:
        self._link.acknowledge(delivery)
        self._replies.put(json.loads(delivery.payload))
