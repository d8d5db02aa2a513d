"""A device that keeps the contract of models without one: it follows wishes by a script.

It follows each wish once and the newest first, as an agent does; a thread of its own reports the
steps. What a test wants to go wrong is said by `script`, by `refusals` or by `silent`.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import structlog

from edgeqa.broker import Broker
from edgeqa.errors import PayloadError
from edgeqa.messages import Fault, ModelRef, Status, parse_payload
from edgeqa.model_messages import Command, CommandReply, Desired, ModelState, Reported, Verb
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Outgoing, Subscription
from edgeqa.topics import DeviceTopics

OLD = ModelRef(name="old", version="1.0.0", digest="sha256:" + "0" * 64)
NEW_DIGEST = "sha256:" + "a1" * 32
CHECKS = {
    "questions": 12,
    "exact_match": 91.7,
    "f1": 95.2,
    "p50_ms": 20.1,
    "p95_ms": 31.5,
    "memory_bytes": 150 << 20,
    "load_ms": 900.0,
}

# A step is the fields of a report; None waits until the test says `go_on`.
Step = dict[str, Any] | None
Script = Callable[[Desired], Iterator[Step]]


def succeed(_: Desired) -> Iterator[Step]:
    """The default script."""
    yield {"state": "fetching", "progress": 0}
    yield {"state": "fetching", "progress": 50}
    yield {"state": "verifying"}
    yield {"state": "loading", "digest": NEW_DIGEST}
    yield {"state": "testing", "digest": NEW_DIGEST, "checks": CHECKS}
    yield {"state": "active", "digest": NEW_DIGEST, "checks": CHECKS}


def fail(code: str, message: str = "it did not work", state: str = "failed") -> Script:
    """Fetch, and then end like this."""

    def script(_: Desired) -> Iterator[Step]:
        yield {"state": "fetching", "progress": 10}
        yield {"state": state, "reason": {"code": code, "message": message}}

    return script


@dataclass
class FakeDevice:
    """Use it in a `with` block, or call `start` and `stop`.

    Attributes:
        script: how it follows a wish.
        refusals: verb to the code with which it is refused.
        silent: take commands and never reply.
        wishes: that came, each once.
        commands: that were obeyed.
    """

    broker: Broker
    device: str = "pi5"
    script: Script = succeed
    refusals: dict[str, str] = field(default_factory=dict)
    silent: bool = False
    active: ModelRef = OLD
    previous: ModelRef | None = None
    packages: list[dict[str, Any]] = field(default_factory=list)
    wishes: list[Desired] = field(default_factory=list)
    commands: list[tuple[str, Command]] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    boot_id: str = field(default_factory=lambda: secrets.token_hex(4))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        self.topics = DeviceTopics(self.device)
        self._changed = threading.Condition()
        self._next: Desired | None = None
        self._dropped = False
        self._may_go_on = 0
        self._last_number = 0
        self._running = True
        self.link = MqttLink(
            broker=self.broker,
            client_id=f"fake-{secrets.token_hex(4)}",
            subscriptions=[
                Subscription(self.topics.desired, self._on_desired),
                Subscription(self.topics.all_commands, self._on_command),
            ],
            log=structlog.get_logger(),
            birth=lambda: self.presence("online"),
            will=self.presence("offline", "lost"),
        )
        self.link.start()
        self._follower = threading.Thread(target=self._follow_all, name="fake-device")
        self._follower.start()
        return self

    def stop(self) -> None:
        with self._changed:
            self._running = False
            self._changed.notify_all()
        self._follower.join()
        self.link.stop(self.presence("offline", "stopped"))

    def go_on(self) -> None:
        """Let the script go beyond one step that is None."""
        with self._changed:
            self._may_go_on += 1
            self._changed.notify_all()

    def wait_for_wishes(self, count: int, timeout_s: float = 20) -> None:
        """Wait until so many wishes came."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.wishes) >= count, timeout_s)

    def report(self, **fields: Any) -> None:
        """Publish a report about anything."""
        report = Reported.model_validate(
            {
                "device": self.device,
                "boot_id": self.boot_id,
                "time_ms": int(time.time() * 1000),
                "active": self.active,
                "previous": self.previous,
            }
            | fields
        )
        self.publish_report(report.to_json())

    def publish_report(self, payload: bytes) -> None:
        """Publish whatever, where reports are expected."""
        self.link.publish(Outgoing(self.topics.reported, payload, retain=True))

    def presence(self, status: str, reason: str | None = None, **more: Any) -> Outgoing:
        """Birth, farewell or will."""
        fields = {"status": status, "device": self.device, "reason": reason} | more
        payload = Status.model_validate(fields | {"boot_id": self.boot_id}).to_json()
        return Outgoing(self.topics.status, payload, retain=True)

    def _on_desired(self, delivery: Delivery) -> None:
        self.link.acknowledge(delivery)
        wish = parse_payload(Desired, delivery.payload) if delivery.payload else None
        with self._changed:
            if wish is not None:
                if any(wish.id == one.id for one in self.wishes):
                    return
                self.wishes.append(wish)
                self._next = wish
            self._dropped = True
            self._changed.notify_all()

    def _follow_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next is not None or not self._running)
                wish, self._next = self._next, None
                self._dropped = False
            if wish is None:
                return
            self._follow(wish)

    def _follow(self, wish: Desired) -> None:
        for step in self.script(wish):
            with self._changed:
                if step is None:
                    self._changed.wait_for(
                        lambda: self._may_go_on or self._dropped or not self._running
                    )
                    self._may_go_on = max(0, self._may_go_on - 1)
                if self._dropped or not self._running:
                    return  # superseded: an agent says nothing about it
            if step is None:
                continue
            about = {"name": wish.name, "version": wish.version, "wish": wish.id}
            if step["state"] == ModelState.ACTIVE:
                self.previous = self.active
                self.active = ModelRef(
                    name=wish.name, version=wish.version, digest=step.get("digest", NEW_DIGEST)
                )
            self.report(**about | {"rollout": wish.rollout} | step)

    def _on_command(self, delivery: Delivery) -> None:
        self.link.acknowledge(delivery)
        self.deliveries.append(delivery)
        verb = self.topics.verb(delivery.topic) or ""
        command = parse_payload(Command, delivery.payload)
        fields: dict[str, Any] = {"status": "ok"}
        try:
            fields |= self._obey(verb, command, delivery)
        except PayloadError as error:
            fields |= {"status": "error", "error": Fault(code=error.code, message=str(error))}
        if self.silent:
            return
        reply = CommandReply.model_validate(
            {
                "verb": verb,
                "device": self.device,
                "boot_id": self.boot_id,
                "id": command.id,
                "number": command.number,
                "active": self.active,
            }
            | fields
        )
        topic = delivery.response_topic or self.topics.answers
        self.link.publish(Outgoing(topic, reply.to_json(), correlation=delivery.correlation))

    def _obey(self, verb: str, command: Command, delivery: Delivery) -> dict[str, Any]:
        if delivery.retain or command.number <= self._last_number:
            raise PayloadError("not higher than the last", code="command_replayed")
        if time.time() * 1000 > command.expires_ms:
            raise PayloadError("too late", code="command_expired")
        if verb in self.refusals:
            raise PayloadError("not this time", code=self.refusals[verb])
        self._last_number = command.number
        self.commands.append((verb, command))
        if verb == Verb.ROLLBACK:
            if self.previous is None:
                raise PayloadError("there is no previous model", code="nothing_to_roll_back")
            self.active, self.previous = self.previous, None
        if verb == Verb.PRUNE:
            return {"freed_bytes": 23_400_000}
        return {"packages": self.packages} if verb == Verb.PACKAGES else {}
