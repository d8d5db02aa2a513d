"""The MQTT link over a real broker."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from support.broker import Broker, Certificates

from edgeqa.errors import BrokerError, ConfigError
from edgeqa.mqtt import Limits, MqttLink
from edgeqa.packets import Delivery, Handler, Outgoing, Subscription
from edgeqa.transport import UNACKNOWLEDGED_MS

StartBroker = Callable[..., Broker]


@contextmanager
def linked(
    broker: Broker,
    handlers: dict[str, Handler] | None = None,
    *,
    client_id: str = "a-client",
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> Iterator[MqttLink]:
    link = MqttLink(
        broker=broker.address(**(settings or {})),
        client_id=client_id,
        subscriptions=[Subscription(topic, handler) for topic, handler in (handlers or {}).items()],
        log=structlog.get_logger(),
        **options,
    )
    link.start()
    try:
        yield link
    finally:
        link.stop()


def eventually(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_a_message_comes_with_its_properties(broker: Broker) -> None:
    got: list[Delivery] = []
    with linked(broker, {"a/b": got.append}) as link:
        link.publish(Outgoing("a/b", b"x", response_topic="r", correlation=b"\0c", expiry_s=60))
        assert eventually(lambda: len(got) == 1)
        assert (got[0].response_topic, got[0].correlation) == ("r", b"\0c")
        assert got[0].expiry_s in {59, 60}
        assert not got[0].retain


def test_a_publisher_is_told_when_nobody_listens(broker: Broker) -> None:
    told: list[str | None] = []
    with linked(broker, {"a/b": lambda _: None}) as link:
        link.publish(Outgoing("a/b", b"x"), told.append)
        link.publish(Outgoing("a/c", b"x"), told.append)
        assert eventually(lambda: len(told) == 2)
    assert told == [None, "No matching subscribers"]


def test_it_returns_after_a_broker_restart_and_subscribes_again(broker: Broker) -> None:
    got: list[bytes] = []
    births: list[int] = []
    ready: list[int] = []

    def birth() -> Outgoing:
        births.append(1)
        return Outgoing("a/status", b"online", retain=True)

    def on_ready() -> None:
        ready.append(1)

    handlers: dict[str, Handler] = {"a/b": lambda d: got.append(d.payload)}
    with linked(broker, handlers, birth=birth, on_ready=on_ready) as link:
        broker.restart(kill=True)
        assert eventually(lambda: link.connects == 2 and link.connected)
        link.publish(Outgoing("a/b", b"after"))
        assert eventually(lambda: got == [b"after"])
        assert len(births) == len(ready) == 2
        assert link.alive


def test_what_is_published_during_an_outage_arrives_after_it(broker: Broker) -> None:
    got: list[bytes] = []
    with (
        linked(broker, {"a/b": lambda d: got.append(d.payload)}, client_id="reader") as reader,
        linked(broker, client_id="writer") as writer,
    ):
        broker.stop(kill=True)
        assert eventually(lambda: not writer.connected)
        writer.publish(Outgoing("a/b", b"kept", retain=True))
        broker.start()
        assert eventually(lambda: reader.connected and writer.connected)
        assert eventually(lambda: got == [b"kept"])


def test_an_unacknowledged_message_comes_again_to_the_same_session(broker: Broker) -> None:
    got: list[Delivery] = []
    limits = Limits(session_expiry_s=60)
    with linked(broker, {"a/b": got.append}, limits=limits) as link:
        link.publish(Outgoing("a/b", b"1"))
        link.publish(Outgoing("a/b", b"2"))
        assert eventually(lambda: len(got) == 2)
        link.acknowledge(got[0])
        link.acknowledge(got[0])
    again: list[Delivery] = []
    with linked(broker, {"a/b": again.append}, limits=limits):
        assert eventually(lambda: len(again) == 1)
        assert (again[0].payload, again[0].redelivered) == (b"2", True)


def test_acknowledgements_leave_in_order(broker: Broker) -> None:
    got: list[Delivery] = []
    with linked(broker, {"a/b": got.append}) as link:
        for number in range(5):
            link.publish(Outgoing("a/b", b"%d" % number))
        assert eventually(lambda: len(got) == 5)
        for delivery in reversed(got):
            link.acknowledge(delivery)
        sent = "Received PUBACK from a-client"
        assert eventually(lambda: broker.log.count(sent) == 5)
    ids = [line.rsplit("Mid: ", 1)[1].split(",")[0] for line in broker.log.splitlines()
           if sent in line]  # fmt: skip
    assert ids == sorted(ids, key=int)


def test_an_exception_in_a_handler_does_not_end_the_link(broker: Broker) -> None:
    got: list[bytes] = []

    def handler(delivery: Delivery) -> None:
        if delivery.payload == b"bad":
            raise RuntimeError("on purpose")
        got.append(delivery.payload)

    def delivered(_: str | None) -> None:
        raise RuntimeError("on purpose")

    with structlog.testing.capture_logs() as logs, linked(broker, {"a/b": handler}) as link:
        link.publish(Outgoing("a/b", b"bad"), delivered)
        link.publish(Outgoing("a/b", b"good"))
        assert eventually(lambda: got == [b"good"])
        assert link.alive
        assert link.connected
    events = [entry["event"] for entry in logs]
    assert "message_handler_failed" in events
    assert "mqtt_callback_failed" in events


def test_a_lost_client_leaves_its_will_and_a_stopped_one_its_farewell(broker: Broker) -> None:
    got: list[bytes] = []
    with linked(broker, {"a/status": lambda d: got.append(d.payload)}, client_id="watcher"):
        options: dict[str, Any] = {"will": Outgoing("a/status", b"lost", retain=True)}
        first = linked(broker, client_id="twin", **options)
        second = linked(broker, client_id="twin", **options)  # takes the session over
        with first, second as link:
            assert eventually(lambda: b"lost" in got)
            link.stop(Outgoing("a/status", b"stopped", retain=True))
            assert eventually(lambda: got[-1] == b"stopped")


def test_a_wrong_password_is_said(start_broker: StartBroker, tmp_path: Path) -> None:
    broker = start_broker(users={"agent": "right"})
    word = tmp_path / "password"
    settings = {"broker_username": "agent", "broker_password_file": word}
    word.write_text("right\n")
    with linked(broker, settings=settings) as link:
        assert link.connected
    word.write_text("wrong\n")
    began = time.monotonic()
    with pytest.raises(BrokerError, match="Not authorized"), linked(broker, settings=settings):
        pass
    assert time.monotonic() - began < 5
    with pytest.raises(ConfigError, match="broker_password_file"):
        broker.address(broker_username="agent", broker_password_file=tmp_path / "none")


# paho leaves a socket whose handshake failed, and the socket pair of a loop that is started again,
# to the garbage collector.
SOCKETS_LEFT = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@SOCKETS_LEFT
def test_tls_needs_the_right_authority(
    start_broker: StartBroker, certificates: Certificates, other_certificates: Certificates
) -> None:
    broker = start_broker(tls=certificates)
    with linked(broker) as link:
        assert link.connected
    wrong = {"broker_ca_file": other_certificates.ca, "broker_connect_timeout_s": 1.0}
    failed = pytest.raises(BrokerError, match="certificate verify failed")
    with failed, linked(broker, settings=wrong):
        pass
    with pytest.raises(ConfigError, match="broker_ca_file"):
        broker.address(broker_ca_file=certificates.server[1])


def test_a_client_certificate_opens_the_door(
    start_broker: StartBroker, certificates: Certificates
) -> None:
    broker = start_broker(tls=certificates, require_client_cert=True)
    cert, key = certificates.client
    with linked(broker, settings={"broker_cert_file": cert, "broker_key_file": key}) as link:
        assert link.connected
    with pytest.raises(BrokerError), linked(broker, settings={"broker_connect_timeout_s": 1.0}):
        pass


@SOCKETS_LEFT
def test_a_refused_start_can_be_tried_again(broker: Broker) -> None:
    broker.stop()
    link = MqttLink(
        broker=broker.address(broker_connect_timeout_s=0.3),
        client_id="again",
        subscriptions=[],
        log=structlog.get_logger(),
    )
    with pytest.raises(BrokerError, match="Connection refused"):
        link.start()
    broker.start()
    link.start()
    assert link.connected
    link.stop()
    link.stop()
    assert not link.connected


def test_what_waits_for_the_broker_is_bounded(broker: Broker) -> None:
    with linked(broker, limits=Limits(max_queued=3)) as link:
        broker.stop(kill=True)
        assert eventually(lambda: not link.connected)
        for _ in range(3):
            link.publish(Outgoing("a/b", b"x"))
        with pytest.raises(BrokerError) as caught:
            link.publish(Outgoing("a/b", b"x"))
        assert caught.value.code == "queue_full"


def test_a_packet_too_large_for_the_broker_is_refused(start_broker: StartBroker) -> None:
    broker = start_broker(extra=("max_packet_size 10000",))
    told: list[str | None] = []
    with linked(broker) as link:
        with pytest.raises(BrokerError) as caught:
            link.publish(Outgoing("a/b", b"x" * 10_001))
        assert caught.value.code == "packet_too_large"
        link.publish(Outgoing("a/b", b"x" * 7000), told.append)
        assert eventually(lambda: len(told) == 1)
        assert link.connects == 1


def test_a_broker_that_is_silently_gone_ends_the_connection_without_a_ping(broker: Broker) -> None:
    """Linux ends it; that it does takes half a minute and a cable, benchmarks/wire has one."""
    with linked(broker) as link:
        sock = link._client.socket()
        assert sock is not None
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == UNACKNOWLEDGED_MS
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_it_pings_only_when_it_sends_nothing_else(broker: Broker) -> None:
    link = MqttLink(
        broker=replace(broker.address(), keepalive_s=1),
        client_id="quiet",
        subscriptions=[],
        log=structlog.get_logger(),
    )
    link.start()
    try:
        for _ in range(10):
            link.publish(Outgoing("a/b", b"x"))
            time.sleep(0.3)
        assert "PINGREQ from quiet" not in broker.log
        assert eventually(lambda: "PINGREQ from quiet" in broker.log)
        time.sleep(1.5)
        assert link.connects == 1
    finally:
        link.stop()


def test_many_threads_publish_large_messages_at_once_and_each_comes_whole(broker: Broker) -> None:
    # Far more than the socket takes at once: packets are sent in parts, by several threads.
    payloads = {bytes((65 + number,)) * (300_000 + number) for number in range(12)}
    got: list[bytes] = []
    told: list[str | None] = []
    with (
        linked(broker, {"a/b": lambda d: got.append(d.payload)}, client_id="hears"),
        linked(broker, client_id="tells") as link,
    ):
        threads = [
            threading.Thread(target=link.publish, args=(Outgoing("a/b", payload), told.append))
            for payload in payloads
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert eventually(lambda: len(got) == len(told) == len(payloads))
        assert link.connects == 1
    assert set(got) == payloads
    assert told == [None] * len(payloads)


def test_messages_of_one_thread_keep_their_order(broker: Broker) -> None:
    got: list[bytes] = []
    sizes = [10, 2_000_000, 10, 10, 1_000_000, 10] * 3
    with linked(broker, {"a/b": lambda d: got.append(d.payload[:2])}) as link:
        for number, size in enumerate(sizes):
            link.publish(Outgoing("a/b", f"{number:02}".encode() + bytes(size)))
        assert eventually(lambda: len(got) == len(sizes))
    assert got == [f"{number:02}".encode() for number in range(len(sizes))]
