"""Devices that follow the wishes which a real broker retains for them, and report to the database.

Wishes come over MQTT. What the devices say goes through the collector's own reading and storing, in
this process: quick, and without a collector to start for each test.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import structlog
from sqlalchemy.exc import DBAPIError

from edgeqa.commands import unix_ms
from edgeqa.model_messages import Desired
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Subscription
from edgeqa.topics import Kind, device_in, of_all_devices
from edgeqa_cloud.database import Database
from support.broker import Broker
from support.cloud import Store, arrival, evaluation, heartbeat
from support.fleet import NEW, OLD, paired

_PATIENCE_S = 20.0
# EM and F1 of models by version, percent.
QUALITY = {OLD["version"]: 76.0, NEW["version"]: 75.0}
BAD = {"name": NEW["name"], "version": "0.3.0", "digest": f"sha256:{'3' * 64}"}
THIRD = {"name": NEW["name"], "version": "0.4.0", "digest": f"sha256:{'4' * 64}"}
QUALITY |= {BAD["version"]: 30.0, THIRD["version"]: 77.0}
MODELS = {one["version"]: one for one in (OLD, NEW, BAD, THIRD)}


@dataclass
class Device:
    """One of them.

    Attributes:
        online: whether it gets wishes; what it misses, it gets when it is back.
        refuses: versions that it cannot load.
        mute: it follows wishes and tells nobody.
        wishes: that it followed, in order: id, and the version of the model.
    """

    device: str
    number: int
    online: bool = True
    refuses: set[str] = field(default_factory=set)
    mute: bool = False
    model: dict[str, str] = field(default_factory=lambda: dict(OLD))
    previous: dict[str, str] | None = None
    wish: str | None = None
    retained: Desired | None = None
    wishes: list[tuple[str, str]] = field(default_factory=list)
    withdrawn: int = 0


class FollowingFleet:
    """Use it in a `with` block.

    Args:
        broker: where wishes come from.
        database: where reports go.
        names: of the devices.
    """

    def __init__(self, broker: Broker, database: Database, names: Iterable[str]) -> None:
        self.devices: dict[str, Device] = {}
        self.evaluates = True
        self._store = Store(database)
        self._began_ms = unix_ms() - 60_000
        self._seq = itertools.count(1)
        self._lock = threading.RLock()
        self._inbox: queue.Queue[tuple[str, bytes] | None] = queue.Queue()
        self._link = MqttLink(
            broker=broker.address(),
            client_id="fleet",
            subscriptions=[Subscription(of_all_devices(Kind.DESIRED), self._take)],
            log=structlog.get_logger(),
        )
        self._worker = threading.Thread(target=self._run, name="fleet")
        self._names = list(names)

    def __enter__(self) -> Self:
        for name in self._names:
            self.add(name)
        self._worker.start()
        self._link.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._link.stop()
        self._inbox.put(None)
        self._worker.join()

    def add(self, name: str, **fields: Any) -> Device:
        """One more."""
        with self._lock:
            device = Device(name, len(self.devices), **fields)
            self.devices[name] = device
            self.presence(device)
            self.report(device, "active")
            return device

    def come(self, name: str) -> None:
        """It is back, and gets what the broker has retained for it."""
        with self._lock:
            device = self.devices[name]
            device.online = True
            self.presence(device)
            self.report(device, "active")
            if device.retained is not None:
                self._follow(device, device.retained)

    def go(self, name: str) -> None:
        """It says that it goes."""
        with self._lock:
            device = self.devices[name]
            device.online = False
            self.presence(device)

    def on_model(self, model: dict[str, str]) -> set[str]:
        """Who runs it."""
        with self._lock:
            return {name for name, one in self.devices.items() if one.model == model}

    def presence(self, device: Device) -> None:
        """Birth or farewell, and a heartbeat."""
        status = {
            "schema": 1, "device": device.device, "boot_id": self._boot(device),
            "status": "online" if device.online else "offline",
            "model": device.model if device.online else None,
            "reason": None if device.online else "stopped",
        }  # fmt: skip
        self._tell(device, "status", {k: v for k, v in status.items() if v is not None})
        if device.online:
            beat = heartbeat(device=device.device, boot_id=self._boot(device), time_ms=unix_ms(),
                             uptime_ms=self._uptime_ms(), seq=0)  # fmt: skip
            self._tell(device, "heartbeat", beat)

    def report(self, device: Device, state: str, **fields: Any) -> dict[str, Any]:
        """What it says of its model."""
        said = {
            "schema": 1, "device": device.device, "boot_id": self._boot(device),
            "time_ms": unix_ms() + next(self._seq), "state": state, **device.model,
            "wish": device.wish, "active": device.model, "previous": device.previous, **fields,
        }  # fmt: skip
        said = {key: value for key, value in said.items() if value is not None}
        if not device.mute:
            self._tell(device, "model/reported", said)
        return said

    def say(self, topic_device: str, kind: str, body: dict[str, Any]) -> None:
        """Anything, on the topic of any device."""
        with self._lock:
            deadline = time.monotonic() + _PATIENCE_S
            while True:
                try:
                    self._store.store(arrival(kind, body, device=topic_device, at_ms=unix_ms()))
                except DBAPIError:  # as the collector does: until the database is back
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
                else:
                    return

    def _tell(self, device: Device, kind: str, body: dict[str, Any]) -> None:
        self.say(device.device, kind, body)

    def _uptime_ms(self) -> int:
        return unix_ms() - self._began_ms

    def _boot(self, device: Device) -> str:
        return f"boot-{device.device}"[:64]

    def _take(self, delivery: Delivery) -> None:
        self._inbox.put((device_in(delivery.topic) or "", delivery.payload))
        self._link.acknowledge(delivery)

    def _run(self) -> None:
        while (item := self._inbox.get()) is not None:
            name, payload = item
            with self._lock:
                device = self.devices.get(name)
                if device is None:
                    continue
                if not payload:
                    device.retained = None
                    device.withdrawn += 1
                    continue
                device.retained = Desired.model_validate_json(payload)
                if device.online:
                    self._follow(device, device.retained)

    def _follow(self, device: Device, wish: Desired) -> None:
        if wish.id == device.wish:
            return
        device.wish = wish.id
        device.wishes.append((wish.id, wish.version))
        subject = {"name": wish.name, "version": wish.version, "digest": wish.digest}
        self.report(device, "fetching", progress=0, **subject)
        if wish.version in device.refuses:
            why = {"code": "model_load_failed", "message": "it does not load"}
            self.report(device, "failed", reason=why, **subject)
            return
        model = MODELS[wish.version]
        if model != device.model:
            device.previous, device.model = device.model, dict(model)
        self.report(device, "active")
        if self.evaluates and device.previous is not None and not device.mute:
            self._evaluate(device, device.previous)

    def _evaluate(self, device: Device, previous: dict[str, str]) -> None:
        drop = QUALITY[device.model["version"]] - QUALITY[previous["version"]]
        scored = evaluation(
            device=device.device, boot_id=self._boot(device), seq=next(self._seq),
            time_ms=unix_ms(), uptime_ms=self._uptime_ms(), model=device.model,
            slice={"id": f"s{device.number:016x}", "index": device.number, "of": 1000},
            paired={**paired(drop, drop - 2, drop + 2, drop), "previous": previous,
                    "exact_match_interval": [drop - 2, drop + 2]},
        )  # fmt: skip
        self._tell(device, "evaluation", scored)
