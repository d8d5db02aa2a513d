"""Many real MQTT clients in one thread."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from typing import Self

import pytest
import structlog
from support.broker import Broker, Certificates

from edgeqa.errors import BrokerError, ConfigError
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Outgoing, Subscription
from edgeqa_cloud.simulate import descriptors
from edgeqa_cloud.simulate.connection import Connection
from edgeqa_cloud.simulate.dial import Network
from edgeqa_cloud.simulate.loop import EventLoop, Turnstile

DEVICES = 200


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    made = EventLoop()
    yield made
    made.close()


class Client:
    """A connection and what it was told."""

    def __init__(self, network: Network, number: int) -> None:
        self.ups = self.downs = 0
        self.taken: list[Delivery] = []
        self.delivered: list[str | None] = []
        self.topic = f"t/{number}"
        self.connection = Connection(
            network=network,
            client_id=f"c{number}",
            will=Outgoing(f"will/{number}", b"lost", retain=True),
            filters=[f"to/{number}"],
            owner=self,
        )

    def on_up(self) -> None:
        self.ups += 1

    def on_down(self) -> None:
        self.downs += 1

    def on_message(self, delivery: Delivery) -> None:
        self.taken.append(delivery)

    def say(self, payload: bytes) -> None:
        self.connection.publish(Outgoing(self.topic, payload), self.delivered.append)


class Listener:
    """Everything that is published, by topic."""

    def __init__(self, broker: Broker) -> None:
        self.heard: dict[str, list[bytes]] = {}
        self.link = MqttLink(
            broker=broker.address(),
            client_id="listener",
            subscriptions=[Subscription("t/+", self._on), Subscription("will/+", self._on)],
            log=structlog.get_logger(),
        )

    def _on(self, delivery: Delivery) -> None:
        self.link.acknowledge(delivery)
        self.heard.setdefault(delivery.topic, []).append(delivery.payload)

    def __enter__(self) -> Self:
        self.link.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.link.stop()

    def wait(self, count: int) -> dict[str, list[bytes]]:
        deadline = time.monotonic() + 10
        while sum(len(one) for one in self.heard.values()) < count:
            assert time.monotonic() < deadline, f"{self.heard}"
            time.sleep(0.01)
        return self.heard


def made(broker: Broker, loop: EventLoop, count: int, **settings: object) -> list[Client]:
    network = Network.to(broker.address(**settings), loop=loop, connect_rate=2000)
    clients = [Client(network, number) for number in range(count)]
    for client in clients:
        client.connection.open()
    return clients


def all_up(clients: list[Client]) -> bool:
    return all(client.connection.connected for client in clients)


def end(clients: list[Client], loop: EventLoop) -> None:
    for client in clients:
        client.connection.close()
    loop.run(until=lambda: not any(c.connection.connected for c in clients), timeout_s=10)
    assert not any(c.connection.connected for c in clients)


def test_two_hundred_clients_in_one_thread(broker: Broker, loop: EventLoop) -> None:
    threads = threading.active_count()
    with Listener(broker) as listener:
        before = threading.active_count()
        clients = made(broker, loop, DEVICES)
        loop.run(until=lambda: all_up(clients), timeout_s=20)
        for n, client in enumerate(clients):
            client.say(b"%d" % n)
            client.say(b"again")
        loop.run(until=lambda: all(len(c.delivered) == 2 for c in clients), timeout_s=20)
        assert threading.active_count() == before
        heard = listener.wait(2 * DEVICES)
        assert heard == {f"t/{n}": [b"%d" % n, b"again"] for n in range(DEVICES)}
        for n, _ in enumerate(clients):
            listener.link.publish(Outgoing(f"to/{n}", b"hello %d" % n))
        loop.run(until=lambda: all(c.taken for c in clients), timeout_s=20)
        assert [c.taken[0].payload for c in clients] == [b"hello %d" % n for n in range(DEVICES)]
        end(clients, loop)
        assert not [topic for topic in listener.heard if topic.startswith("will/")]
    assert threading.active_count() == threads


def test_what_a_broken_connection_left_is_sent_again(broker: Broker, loop: EventLoop) -> None:
    clients = made(broker, loop, 20)
    loop.run(until=lambda: all_up(clients), timeout_s=20)
    broker.stop(kill=True)
    for client in clients:
        client.say(b"meanwhile")
    loop.run(until=lambda: all(c.downs == 1 for c in clients), timeout_s=20)
    broker.start()
    with Listener(broker) as listener:
        loop.run(until=lambda: all(c.delivered for c in clients), timeout_s=40)
        assert all(c.ups == 2 for c in clients)
        listener.wait(20)
        assert {topic: set(what) for topic, what in listener.heard.items()} == {
            f"t/{n}": {b"meanwhile"} for n in range(20)
        }
    end(clients, loop)


def test_a_pulled_plug_leaves_the_will(broker: Broker, loop: EventLoop) -> None:
    with Listener(broker) as listener:
        [client] = made(broker, loop, 1)
        loop.run(until=lambda: client.connection.connected, timeout_s=10)
        client.connection.drop()
        loop.run(until=lambda: client.downs == 1, timeout_s=10)
        assert listener.wait(1) == {"will/0": [b"lost"]}
        loop.run(timeout_s=0.7)
        assert client.ups == 1  # it stays away until it is told otherwise
        client.connection.open()
        loop.run(until=lambda: client.ups == 2, timeout_s=10)
        end([client], loop)


def test_over_tls(start_broker: object, certificates: Certificates, loop: EventLoop) -> None:
    broker = start_broker(tls=certificates)  # type: ignore[operator]  # the fixture's function
    clients = made(broker, loop, 5)
    loop.run(until=lambda: all_up(clients), timeout_s=20)
    for client in clients:
        client.say(b"x" * 40_000)
    loop.run(until=lambda: all(c.delivered for c in clients), timeout_s=20)
    assert all(c.delivered for c in clients)
    end(clients, loop)


def test_a_payload_larger_than_the_sockets_buffer(broker: Broker, loop: EventLoop) -> None:
    with Listener(broker) as listener:
        [client] = made(broker, loop, 1)
        loop.run(until=lambda: client.connection.connected, timeout_s=10)
        client.say(b"x" * (12 << 20))
        loop.run(until=lambda: len(client.delivered) == 1, timeout_s=20)
        assert len(listener.wait(1)["t/0"][0]) == 12 << 20
        end([client], loop)


def test_nobody_listens_is_told(broker: Broker, loop: EventLoop) -> None:
    [client] = made(broker, loop, 1)
    loop.run(until=lambda: client.connection.connected, timeout_s=10)
    client.say(b"into the void")
    loop.run(until=lambda: len(client.delivered) == 1, timeout_s=10)
    assert client.delivered[0] is not None
    assert "No matching subscribers" in client.delivered[0]
    end([client], loop)


def test_a_broker_that_does_not_answer_holds_nobody_up(loop: EventLoop) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # bound, but it does not listen: refused
        url = f"mqtt://127.0.0.1:{deaf.getsockname()[1]}"
        from edgeqa.broker import BrokerSettings, resolve_broker

        network = Network.to(
            resolve_broker(BrokerSettings(broker=url)), loop=loop, connect_rate=1000
        )
        client = Client(network, 0)
        client.connection.open()
        ticks: list[float] = []
        loop.call_later(0.05, lambda: ticks.append(1))
        loop.run(timeout_s=0.3)
        assert ticks
        assert not client.connection.connected
        client.connection.close()


def test_an_unknown_host_is_said_so(loop: EventLoop) -> None:
    from edgeqa.broker import BrokerSettings, resolve_broker

    broker = resolve_broker(BrokerSettings(broker="mqtt://no.such.host.invalid"))
    with pytest.raises(BrokerError, match=r"no\.such\.host\.invalid"):
        Network.to(broker, loop=loop, connect_rate=1)


def test_timers_come_in_order_and_can_be_taken_back() -> None:
    clock = Clock()
    loop = EventLoop(clock=clock)
    came: list[str] = []
    for name, delay in (("b", 2.0), ("a", 1.0), ("c", 3.0)):
        timer = loop.call_later(delay, lambda name=name: came.append(name))  # type: ignore[misc]
    timer.cancel()
    clock.now += 0.5
    loop.turn(clock.now)
    assert came == []
    clock.now += 10
    loop.turn(clock.now)
    assert came == ["a", "b"]
    loop.close()


def test_the_turnstile_keeps_its_rate() -> None:
    clock = Clock()
    loop = EventLoop(clock=clock)
    gate = Turnstile(loop=loop, rate=100)
    through: list[int] = []
    for n in range(50):
        gate.enter(lambda n=n: through.append(n))  # type: ignore[misc]
    for _ in range(20):
        clock.now += 0.01
        loop.turn(clock.now)
    # 0.2 s at 100 a second, and the burst of a rest before.
    assert 20 <= len(through) <= 26
    assert through == sorted(through)
    loop.close()


def test_too_few_descriptors_are_said_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 200))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    descriptors.make_room(36)
    with pytest.raises(ConfigError, match=r"ulimit -Hn 1064.*at most 136 devices.*--prefix"):
        descriptors.make_room(1000)
