"""At the broker's end of the cable: listens to the device as a collector would, and counts frames.

Runs as a process inside the broker's namespace. Each line on its input is answered with one line of
JSON: what was counted since the start.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
from dataclasses import asdict

import structlog

from edgeqa.broker import BrokerSettings, resolve_broker
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Subscription
from edgeqa.topics import Kind, device_in, of_all_devices
from wire.frames import Frames
from wire.namespaces import DEVICE_ADDRESS, WIRE

_ALL_PROTOCOLS = 0x0003  # ETH_P_ALL of packet(7)
_MAX_FRAME_BYTES = 1 << 17
_HEARD = (Kind.TELEMETRY, Kind.EVALUATION, Kind.SWAP, Kind.HEARTBEAT, Kind.STATUS, Kind.REPORTED)


def main(url: str) -> None:
    """Watch until the input ends."""
    heard: list[Delivery] = []

    def on_message(delivery: Delivery) -> None:
        heard.append(delivery)
        link.acknowledge(delivery)

    link = MqttLink(
        broker=resolve_broker(BrokerSettings(broker=url)),
        client_id="watch",
        subscriptions=[Subscription(of_all_devices(kind), on_message) for kind in _HEARD],
        log=structlog.make_filtering_bound_logger(40)(structlog.PrintLogger(sys.stderr), [], {}),
    )
    frames = Frames(socket.inet_aton(DEVICE_ADDRESS))
    link.start()
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS)) as wire:
            wire.bind((WIRE, 0))
            _serve(wire, frames, heard)
    finally:
        link.stop()


def _serve(wire: socket.socket, frames: Frames, heard: list[Delivery]) -> None:
    print("ready", flush=True)
    with selectors.DefaultSelector() as ready:
        ready.register(wire, selectors.EVENT_READ)
        ready.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is wire:
                    frames.add(wire.recv(_MAX_FRAME_BYTES))
                elif not sys.stdin.readline():
                    return
                else:
                    print(json.dumps(_report(frames, heard)), flush=True)


def _report(frames: Frames, heard: list[Delivery]) -> dict[str, object]:
    payloads: dict[str, list[int]] = {}
    for delivery in heard:
        device = device_in(delivery.topic) or ""
        kind = delivery.topic.partition(f"/{device}/")[2]
        payloads.setdefault(kind, []).append(len(delivery.payload))
    return {
        "kinds": {kind: asdict(tally) for kind, tally in frames.tallies.items()},
        "payload_bytes": payloads,
        "last": {
            kind: delivery.payload.decode()
            for kind in payloads
            for delivery in heard
            if delivery.topic.endswith(kind)
        },
    }


if __name__ == "__main__":
    main(sys.argv[1])
