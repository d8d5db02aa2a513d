"""The collector's connection: `MqttLink`, with a quick path for what devices send.

Thread: `on_arrival` is called in the network thread; everything else may be called from any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import paho.mqtt.client as paho
from structlog.typing import FilteringBoundLogger

from edgeqa.acks import Receipt
from edgeqa.broker import Broker
from edgeqa.mqtt import Limits, MqttLink
from edgeqa.packets import Outgoing, Subscription
from edgeqa.topics import ROOT
from edgeqa.transport import new_client
from edgeqa_cloud.fast_client import FastClient

# Topic, payload, and the right to acknowledge it once.
OnArrival = Callable[[str, bytes, Receipt], None]


class IntakeLink(MqttLink):
    """An `MqttLink` that hands what comes from devices to `on_arrival`, of which it is quick."""

    def __init__(
        self,
        *,
        broker: Broker,
        client_id: str,
        subscriptions: Sequence[Subscription],
        on_arrival: OnArrival,
        log: FilteringBoundLogger,
        limits: Limits,
    ) -> None:
        self._on_arrival = on_arrival
        super().__init__(
            broker=broker,
            client_id=client_id,
            subscriptions=subscriptions,
            log=log,
            limits=limits,
        )

    def acknowledge_all(self, receipts: Sequence[Receipt]) -> None:
        """Tell the broker that it need not send these messages again."""
        self._acks.acknowledge_all(receipts)

    def _new_client(self, client_id: str, will: Outgoing | None) -> paho.Client:
        client = new_client(
            self._broker, client_id=client_id, will=will, limits=self._limits, kind=FastClient
        )
        if isinstance(client, FastClient):
            client.prefix = f"{ROOT}/devices/".encode()
            client.on_publication = self._on_publication
        return client

    def _send_acks(self, packet_ids: list[int]) -> None:
        if isinstance(self._client, FastClient):
            self._client.acknowledge(packet_ids)

    def _on_publication(self, topic: bytes, payload: bytes, packet_id: int) -> None:
        receipt = self._acks.receive(packet_id)
        try:
            self._on_arrival(topic.decode("utf-8", "replace"), payload, receipt)
        except Exception:
            self.log.exception("message_handler_failed", topic=topic[:200])
            self._acks.acknowledge(receipt)
