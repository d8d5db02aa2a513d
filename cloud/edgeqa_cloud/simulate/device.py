"""One simulated device: presence, heartbeats, records, wishes, commands, as the contract says."""

from __future__ import annotations

import random
import time
import uuid
from typing import Any

from edgeqa.errors import BrokerError, PayloadError
from edgeqa.messages import parse_payload
from edgeqa.model_messages import Desired, Verb
from edgeqa.packets import Delivered, Delivery, Outgoing
from edgeqa.telemetry_messages import EvaluateCommand, RecordKind, ResendCommand, Trigger
from edgeqa.topics import DeviceTopics
from edgeqa_cloud.simulate.connection import Connection
from edgeqa_cloud.simulate.faults import Faults, FaultyLink
from edgeqa_cloud.simulate.measure import Loaded, Measured
from edgeqa_cloud.simulate.orders import Orders, command_in
from edgeqa_cloud.simulate.physics import Character
from edgeqa_cloud.simulate.voice import Voice
from edgeqa_cloud.simulate.wishes import Pace, WishFollower
from edgeqa_cloud.simulate.world import Clocks, World

_MAX_WISH_BYTES = 64 << 10
# What is held is told after each connect, and hourly.
_BOOTS_EVERY_S = 3600.0
# An evaluation asked for, or due after a swap, takes about so long to come.
_EVALUATES_IN_S = 2.0


class Device:
    """One device, from `start` to `stop`.

    Args:
        name: its id.
        world: shared with the others.

    Attributes:
        connection: to the broker.
    """

    def __init__(self, *, name: str, world: World) -> None:
        settings = world.settings
        self.name = name
        self.boot_id = uuid.uuid4().hex
        self.topics = DeviceTopics(name)
        self._settings = settings
        self._counters = world.counters
        self._loop = world.network.loop
        # Apart, so that a fault that is switched on changes nothing of what the device measures.
        self._rng = random.Random(f"{settings.seed}/{name}")  # noqa: S311  a model, not a secret
        self._character = Character.drawn(
            self._rng, questions_per_minute=settings.questions_per_minute
        )
        self._measured = Measured(
            character=self._character, rng=self._rng, questions=settings.evaluation_questions
        )
        self._clocks = Clocks(monotonic=self._loop.clock)
        self._resting = self._leaving = False
        self._reconnects = 0
        self._told_boots_at = float("-inf")
        self._told_telemetry_at = self._loop.clock()
        self._voice = Voice(
            topics=self.topics,
            boot_id=self.boot_id,
            version=world.version,
            memory_bytes=self._character.memory_total_bytes,
            wall_ms=self._clocks.wall_ms,
            uptime_ms=self._clocks.uptime_ms,
        )
        self.connection = Connection(
            network=world.network,
            client_id=f"edgeqa-simulated-{name}",
            will=self._voice.offline("lost"),
            filters=[self.topics.desired, self.topics.all_commands],
            owner=self,
        )
        self._faults = FaultyLink(
            connection=self.connection,
            loop=self._loop,
            faults=Faults.of(settings),
            rng=random.Random(f"{settings.seed}/{name}/faults"),  # noqa: S311  no secret
            counters=world.counters,
        )
        self._mailbox = world.mail_room.box(
            device=name,
            boot_id=self.boot_id,
            link=self._faults,
            now_ms=self._clocks.wall_ms,
            uptime_ms=self._clocks.uptime_ms,
        )
        self._follower = WishFollower(
            loop=self._loop,
            models=world.models,
            first=Loaded(world.first, world.first.ref()),
            measured=self._measured,
            pace=Pace(settings.fetch_s, settings.load_s),
            rng=self._rng,
            report=self._report,
            record=self._record_swap,
            changed=self._on_changed,
        )
        self._orders = Orders(
            topics=self.topics,
            boot_id=self.boot_id,
            now_ms=self._clocks.wall_ms,
            model=lambda: self._follower.active.ref,
            publish=self._publish,
            verbs={
                Verb.PING: lambda _: {},
                Verb.PRUNE: lambda _: {"freed_bytes": 0},
                Verb.ROLLBACK: self._roll_back,
                Verb.EVALUATE: self._evaluate_now,
                Verb.RESEND: self._resend,
            },
        )

    @property
    def outstanding(self) -> int:
        """Records that a fault lost each time they were sent so far."""
        return self._faults.outstanding

    def start(self) -> None:
        """Connect when it is our turn, and begin to measure."""
        settings, rng = self._settings, self._rng
        self.connection.open()
        # Devices are not in step: each begins anywhere in its first interval.
        every = self._loop.call_every
        every(settings.telemetry_interval_s, self._tell_telemetry, phase=rng.random())
        every(settings.heartbeat_interval_s, self._beat, phase=rng.random())
        if settings.evaluation_interval_s:
            every(
                settings.evaluation_interval_s,
                lambda: self._evaluate(Trigger.SCHEDULE),
                phase=rng.random(),
            )

    def leave(self) -> None:
        """Say `offline`, and go once the broker has it.

        A socket that is closed while acknowledgements lie in it unread is reset, and the broker
        may lose with it what it had not read yet: the farewell.
        """
        if not self.connection.connected:
            self.connection.close()
        elif not self._leaving:
            self._publish(self._voice.offline("stopped"), lambda _: self.connection.close())
        self._leaving = True

    def rest(self) -> None:
        """Make no more records; send what waits, and go on telling that it lives."""
        self._resting = True

    def jump(self, by_s: float) -> None:
        """Somebody sets the wall clock."""
        self._clocks.jump(by_s)

    # The connection's owner.

    def on_up(self) -> None:
        """Say who is there, then that it lives, then send what waits."""
        self._counters.connects += 1
        self._reconnects += self.connection.connects > 1
        self._told_boots_at = float("-inf")
        self._publish(self._voice.online(self._follower.active.ref))
        self._follower.tell()
        self._beat()
        self._mailbox.connected()

    def on_down(self) -> None:
        """Nothing can be sent until it is up again."""
        self._counters.breaks += 1

    def on_message(self, delivery: Delivery) -> None:
        """A wish or a command."""
        if delivery.topic != self.topics.desired:
            if self._orders.obey(delivery):
                self._counters.commands += 1
            else:
                self._counters.refused += 1
        elif not delivery.payload:
            self._follower.withdraw()
        else:
            try:
                wish = parse_payload(Desired, delivery.payload, most_bytes=_MAX_WISH_BYTES)
            except PayloadError:
                self._counters.refused += 1
                return
            self._follower.wish(wish)

    # What it tells.

    def _beat(self) -> None:
        if not self.connection.connected:
            return
        now = self._loop.clock()
        boots = None
        if now - self._told_boots_at >= _BOOTS_EVERY_S:
            self._told_boots_at = now
            boots = self._mailbox.held()
        beat = self._voice.heartbeat(
            interval_s=self._settings.heartbeat_interval_s,
            acknowledged=self._mailbox.acknowledged,
            boots=boots,
        )
        self._counters.heartbeats += 1
        self._publish(beat, self._on_beat)

    def _on_beat(self, reason: str | None) -> None:
        if reason is None:
            self._mailbox.heard()

    def _tell_telemetry(self) -> None:
        if self._resting:
            return
        now = self._loop.clock()
        interval_s, self._told_telemetry_at = now - self._told_telemetry_at, now
        reconnects, self._reconnects = self._reconnects, 0
        self._mailbox.append(
            RecordKind.TELEMETRY,
            self._measured.telemetry(
                self._follower.active,
                now_s=time.time(),
                interval_s=interval_s,
                uptime_s=self._clocks.uptime_ms() / 1000,
                reconnects=reconnects,
                outbox=self._mailbox.state(),
            ),
        )

    def _evaluate(self, trigger: Trigger, **which: int | None) -> None:
        if self._resting:
            return
        previous = self._follower.previous if trigger is Trigger.SWAP else None
        fields = self._measured.evaluation(
            self._follower.active, previous, trigger=trigger, **which
        )
        self._counters.evaluations += 1
        self._mailbox.append(RecordKind.EVALUATION, fields)

    def _report(self, fields: dict[str, Any]) -> None:
        active, previous = self._follower.active, self._follower.previous
        self._publish(self._voice.report(active.ref, previous.ref if previous else None, fields))

    def _record_swap(self, fields: dict[str, Any]) -> None:
        if fields["state"] == "active":
            self._counters.swaps += 1
        elif fields["state"] == "failed":
            self._counters.swaps_failed += 1
        self._mailbox.append(RecordKind.SWAP, fields)

    def _on_changed(self, trigger: Trigger) -> None:
        self._publish(self._voice.online(self._follower.active.ref))
        self._loop.call_later(_EVALUATES_IN_S, lambda: self._evaluate(trigger))

    # What it is told.

    def _roll_back(self, _payload: bytes) -> dict[str, Any]:
        if not self._follower.rollback():
            raise PayloadError("there is no previous model", code="nothing_to_roll_back")
        return {}

    def _evaluate_now(self, payload: bytes) -> dict[str, Any]:
        command = command_in(EvaluateCommand, payload)
        self._loop.call_later(
            _EVALUATES_IN_S,
            lambda: self._evaluate(
                Trigger.COMMAND, index=command.slice, questions=command.questions
            ),
        )
        return {"queued": command.questions or self._settings.evaluation_questions}

    def _resend(self, payload: bytes) -> dict[str, Any]:
        queued, missing = self._mailbox.resend(command_in(ResendCommand, payload).ranges)
        self._counters.resends += 1
        self._counters.resent += queued
        self._counters.missing += missing
        return {"queued": queued, "missing": missing}

    # Means.

    def _publish(self, message: Outgoing, delivered: Delivered | None = None) -> None:
        """Publish what is of no use later: not while the connection is down."""
        if not self.connection.connected or self._leaving:
            return
        try:
            self.connection.publish(message, delivered)
        except BrokerError:
            self._counters.refused += 1
