"""What goes wrong between a simulated device and the broker, on purpose and by a seed.

The faults lie beneath the courier, where a real network, a real broker or a second agent with the
same id would cause them; courier and outbox know nothing of them.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

from edgeqa.packets import Delivered, Outgoing
from edgeqa_cloud.simulate.connection import Connection
from edgeqa_cloud.simulate.counters import Counters
from edgeqa_cloud.simulate.loop import EventLoop
from edgeqa_cloud.simulate.settings import SimulateSettings

# A record that others are to overtake waits for no more of them, and no longer, than this.
_OVERTAKEN_BY = 3
_OVERTAKEN_S = 2.0


@dataclass(frozen=True, slots=True)
class Faults:
    """How much of each fault there is; all shares are of 1."""

    loss: float = 0.0
    duplicates: float = 0.0
    reorder: float = 0.0
    bad_payloads: float = 0.0

    @classmethod
    def of(cls, settings: SimulateSettings) -> Faults:
        """As the settings say."""
        return cls(settings.loss, settings.duplicates, settings.reorder, settings.bad_payloads)


class FaultyLink:
    """A connection as a courier sees it, with faults for what the courier publishes.

    Args:
        connection: to the broker.
        faults: how much of each.
        rng: decides.
        counters: of the fleet.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        loop: EventLoop,
        faults: Faults,
        rng: random.Random,
        counters: Counters,
    ) -> None:
        self._connection = connection
        self._loop = loop
        self._faults = faults
        self._rng = rng
        self._counters = counters
        self._held: tuple[Outgoing, Delivered] | None = None
        self._overtaken = 0
        # Hashes of records; kept only where some are lost.
        self._lost: set[int] = set()
        self._gone_out: set[int] = set()

    @property
    def outstanding(self) -> int:
        """Records that were lost each time they were sent so far."""
        return len(self._lost)

    @property
    def connected(self) -> bool:
        """Connected and subscribed."""
        return self._connection.connected

    def publish(self, message: Outgoing, delivered: Delivered | None = None) -> None:
        """Publish a record, or do to it what the faults say.

        Raises:
            BrokerError: as `Connection.publish`.
        """
        faults, rng = self._faults, self._rng
        delivered = self._counting(delivered)
        if rng.random() < faults.bad_payloads:
            self._counters.malformed += 1
            self._connection.publish(Outgoing(message.topic, malformed(message.payload, rng)))
        if rng.random() < faults.loss:
            self._counters.lost += 1
            if hash(message.payload) not in self._gone_out:
                self._lost.add(hash(message.payload))
            self._loop.call_soon(lambda: delivered(None))
            return
        if rng.random() < faults.reorder and self._held is None:
            self._counters.reordered += 1
            self._held, self._overtaken = (message, delivered), 0
            self._loop.call_later(_OVERTAKEN_S, self._release)
            return
        self._send(message, delivered)
        if self._held is not None:
            self._overtaken += 1
            if self._overtaken >= _OVERTAKEN_BY:
                self._release()

    def _send(self, message: Outgoing, delivered: Delivered) -> None:
        self._counters.published += 1
        self._counters.bytes += len(message.payload)
        self._connection.publish(message, delivered)
        if self._faults.loss:
            self._lost.discard(hash(message.payload))
            self._gone_out.add(hash(message.payload))
        if self._rng.random() < self._faults.duplicates:
            self._counters.duplicated += 1
            self._connection.publish(message)

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._send(*held)

    def _counting(self, delivered: Delivered | None) -> Delivered:
        def arrived(reason: str | None) -> None:
            if reason is None:
                self._counters.acknowledged += 1
            else:
                self._counters.unheard += 1
            if delivered is not None:
                delivered(reason)

        return arrived


def malformed(payload: bytes, rng: random.Random) -> bytes:
    """Something that no collector can store, made of a good record.

    What still has a sequence number has a boot of its own, so that it cannot take the place of a
    good one.
    """
    record = json.loads(payload) | {"boot_id": f"malformed-{rng.getrandbits(64):016x}"}
    return rng.choice(
        (
            json.dumps(record).encode()[: len(payload) // 2],
            b"\xff\xfe" + payload[:40],
            json.dumps(record | {"schema": 99}).encode(),
            json.dumps(record | {"seq": -1}).encode(),
            json.dumps(record | {"boot_id": "<b>'); DROP TABLE records;--"}).encode(),
            json.dumps([record]).encode(),
        )
    )
