"""The client over a real broker, against an agent that keeps the contract."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.broker import Broker
from support.fake_agent import DropError, FakeAgent

import edgeqa
from edgeqa import AnswerError, AnswerTimeoutError, Client, Item
from edgeqa.errors import BrokerError, ConfigError, ExitCode, PayloadError
from edgeqa.packets import Delivery, Outgoing
from edgeqa.topics import client_answers

CONTEXT = "Oxygen was discovered in 1774."


def drop(_: Delivery) -> None:
    raise DropError


def refuse_busy(_: Delivery) -> None:
    raise PayloadError("the queue is full", code="busy")


def test_a_question_gets_its_answer(broker: Broker) -> None:
    with FakeAgent(broker.address()) as agent, Client(broker=broker.url) as client:
        answer = client.ask("What?", context=CONTEXT, device="pi5", top_k=2, timeout_s=7.2)
        assert answer.answers is not None
        assert [a.text for a in answer.answers] == ["Oxygen", "was"]
        assert answer.model is not None
        assert answer.model.version == "1.0.0"
        assert agent.asked[0].expiry_s == 8
        assert agent.asked[0].response_topic == client_answers(client.client_id)


def test_a_group_is_asked(broker: Broker) -> None:
    with (
        FakeAgent(broker.address(), device="a", groups=("hall",)) as a,
        FakeAgent(broker.address(), device="b", groups=("hall",)) as b,
        Client(broker=broker.url) as client,
    ):
        devices = {
            client.ask("What?", context=CONTEXT, group="hall", timeout_s=5).device
            for _ in range(20)
        }
        assert devices == {"a", "b"}
        assert len(a.asked) + len(b.asked) == 20


def test_a_batch_keeps_the_errors_of_its_items(broker: Broker) -> None:
    with FakeAgent(broker.address()), Client(broker=broker.url) as client:
        answer = client.ask_batch(
            ["One?", Item(question="Two?", context_id="none", id="2")],
            context=CONTEXT,
            device="pi5",
        )
        assert answer.results is not None
        assert answer.results[0].answers is not None
        assert answer.results[1].id == "2"
        assert answer.results[1].error is not None
        assert answer.results[1].error.code == "unknown_context"


def test_a_refusal_raises_the_agents_code(broker: Broker) -> None:
    with (
        FakeAgent(broker.address(), behaviour=refuse_busy),
        Client(broker=broker.url) as client,
        pytest.raises(AnswerError, match="the queue is full") as caught,
    ):
        client.ask("What?", context=CONTEXT, device="pi5")
    assert caught.value.code == "busy"
    assert caught.value.exit_code == ExitCode.UNREACHABLE


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"context": CONTEXT}, "invalid_payload"),
        ({"context": CONTEXT, "device": "a", "group": "b"}, "invalid_payload"),
        ({"context": CONTEXT, "device": "a/#"}, "invalid_payload"),
        ({"device": "a"}, "invalid_payload"),
        ({"context": CONTEXT, "context_id": "x", "device": "a"}, "invalid_payload"),
        ({"context": " ", "device": "a"}, "empty_context"),
        ({"context": CONTEXT, "device": "a", "top_k": 0}, "invalid_payload"),
        ({"context": CONTEXT, "device": "a", "timeout_s": 0}, "invalid_payload"),
        ({"context": CONTEXT, "device": "a", "timeout_s": float("nan")}, "invalid_payload"),
    ],
)
def test_what_an_agent_would_refuse_is_not_sent(
    broker: Broker, options: dict[str, object], code: str
) -> None:
    with Client(broker=broker.url) as client, pytest.raises(PayloadError) as caught:
        client.ask("What?", **options)  # type: ignore[arg-type]  # wrong on purpose
    assert caught.value.code == code


def test_nobody_listening_is_told_at_once(broker: Broker) -> None:
    with Client(broker=broker.url) as client:
        began = time.monotonic()
        with pytest.raises(AnswerError, match=r"no agent listens on .*/nowhere/ask") as caught:
            client.ask("What?", context=CONTEXT, device="nowhere", timeout_s=30)
        assert time.monotonic() - began < 2
        assert caught.value.code == "no_agent"
        with pytest.raises(AnswerError, match="group nowhere"):
            client.ask("What?", context=CONTEXT, group="nowhere", timeout_s=30)


def test_a_timeout_says_that_the_device_is_online(broker: Broker) -> None:
    with (
        FakeAgent(broker.address(), behaviour=drop),
        Client(broker=broker.url) as client,
        pytest.raises(AnswerTimeoutError, match=r"in 0\.2 s; it is online") as caught,
    ):
        client.ask("What?", context=CONTEXT, device="pi5", timeout_s=0.2)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.code == "timeout"


def test_late_answers_are_ignored(broker: Broker) -> None:
    release = threading.Event()

    def slow(_: Delivery) -> None:
        release.wait(5)

    with FakeAgent(broker.address(), behaviour=slow), Client(broker=broker.url) as client:
        with pytest.raises(AnswerTimeoutError):
            client.ask("Late?", context="late", device="pi5", timeout_s=0.1)
        release.set()
        answer = client.ask("Soon?", context="soon", device="pi5", timeout_s=5)
        assert answer.answers is not None
        assert answer.answers[0].text == "soon"


def test_many_threads_get_their_own_answers(broker: Broker) -> None:
    with FakeAgent(broker.address()), Client(broker=broker.url) as client:

        def ask(number: int) -> str:
            answer = client.ask("Who?", context=f"word{number} else", device="pi5", timeout_s=20)
            return (answer.answers or [])[0].text

        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(ask, range(300))) == [f"word{n}" for n in range(300)]


def test_the_table_of_pending_questions_is_bounded(broker: Broker) -> None:
    with (
        FakeAgent(broker.address(), behaviour=drop),
        Client(broker=broker.url, max_pending=3) as client,
    ):
        futures = [client.submit("What?", context=CONTEXT, device="pi5") for _ in range(3)]
        with pytest.raises(AnswerError) as caught:
            client.submit("What?", context=CONTEXT, device="pi5")
        assert caught.value.code == "too_many_pending"
        assert futures[0].cancel()
        client.submit("What?", context=CONTEXT, device="pi5")


def test_stopping_fails_what_waits(broker: Broker) -> None:
    with FakeAgent(broker.address(), behaviour=drop):
        client = Client(broker=broker.url)
        client.start()
        future = client.submit("What?", context=CONTEXT, device="pi5")
        client.stop()
        client.stop()
        with pytest.raises(AnswerError) as caught:
            future.result(0)
        assert caught.value.code == "client_stopped"
        with pytest.raises(BrokerError, match="not started"):
            client.ask("What?", context=CONTEXT, device="pi5")


def test_it_can_be_started_again(broker: Broker) -> None:
    client = Client(broker=broker.url)
    with FakeAgent(broker.address()):
        for _ in range(2):
            with client:
                client.ask("What?", context=CONTEXT, device="pi5")


def test_a_broker_restart_loses_no_question(broker: Broker) -> None:
    started, release = threading.Event(), threading.Event()

    def slow(_: Delivery) -> None:
        started.set()
        release.wait(20)

    with FakeAgent(broker.address(), behaviour=slow), Client(broker=broker.url) as client:
        before = client.submit("Before?", context="before", device="pi5", timeout_s=30)
        assert started.wait(5)
        broker.stop(kill=True)
        during = client.submit("During?", context="during", device="pi5", timeout_s=30)
        release.set()
        broker.start()
        for future, word in ((before, "before"), (during, "during")):
            answer = future.result(30)
            assert answer.answers is not None
            assert answer.answers[0].text == word


def test_an_abandoned_question_is_not_sent_after_an_outage(broker: Broker) -> None:
    with FakeAgent(broker.address()) as agent, Client(broker=broker.url) as client:
        client.ask("Up?", context="up", device="pi5")
        broker.stop(kill=True)
        link = client._connection.opened()[1]._link
        while link.connected:
            time.sleep(0.01)
        with pytest.raises(AnswerTimeoutError, match="the broker cannot be reached"):
            client.ask("Lost?", context="lost", device="pi5", timeout_s=0.1)
        broker.start()
        answer = client.submit("Back?", context="back", device="pi5", timeout_s=20).result(20)
        assert answer.answers is not None
        assert [b"Lost?" in d.payload for d in agent.asked] == [False] * len(agent.asked)


def test_an_answer_that_is_none_is_an_error(broker: Broker) -> None:
    with FakeAgent(broker.address()) as agent, Client(broker=broker.url) as client:

        def nonsense(delivery: Delivery) -> None:
            topic = delivery.response_topic or ""
            agent.link.publish(Outgoing(topic, b"\xff{", correlation=delivery.correlation))
            raise DropError

        agent.behaviour = nonsense
        with pytest.raises(AnswerError) as caught:
            client.ask("What?", context=CONTEXT, device="pi5")
        assert caught.value.code == "invalid_answer"


def test_contexts_are_stored_and_deleted(broker: Broker) -> None:
    with Client(broker=broker.url) as client:
        client.store_context("pi5", "manual", "Thermostat at 21 degrees")  # nobody is there yet
        with FakeAgent(broker.address()) as agent:
            assert agent.changed.wait(5)
            answer = client.ask("What?", context_id="manual", device="pi5")
            assert answer.answers is not None
            assert answer.answers[0].text == "Thermostat"
            agent.changed.clear()
            client.delete_context("pi5", "manual")
            assert agent.changed.wait(5)
            with pytest.raises(AnswerError) as caught:
                client.ask("What?", context_id="manual", device="pi5")
            assert caught.value.code == "unknown_context"
        with pytest.raises(PayloadError):
            client.store_context("pi5", "manual", " ")
        with pytest.raises(PayloadError):
            client.store_context("pi5", "a/b", "text")


def test_status_is_read(broker: Broker) -> None:
    with Client(broker=broker.url) as client:
        with pytest.raises(AnswerTimeoutError, match="holds no status of device pi5"):
            client.status("pi5", timeout_s=0.3)
        with FakeAgent(broker.address()):
            assert client.status("pi5").status == "online"
        assert client.status("pi5").reason == "stopped"


def test_a_broker_that_is_not_there(broker: Broker) -> None:
    broker.stop()
    client = Client(broker=broker.address_settings(broker_connect_timeout_s=0.3))
    with pytest.raises(BrokerError, match="Connection refused"):
        client.start()
    with pytest.raises(ConfigError, match="broker: must be mqtt"):
        Client(broker="http://localhost").start()


def test_a_question_larger_than_the_broker_takes_is_refused(start_broker: object) -> None:
    broker: Broker = start_broker(extra=("max_packet_size 10000",))  # type: ignore[operator]
    with FakeAgent(broker.address()), Client(broker=broker.url) as client:
        with pytest.raises(BrokerError) as caught:
            client.ask("What?", context="x" * 20_000, device="pi5")
        assert caught.value.code == "packet_too_large"
        client.ask("What?", context=CONTEXT, device="pi5")


def test_an_answer_cannot_be_guessed(broker: Broker) -> None:
    """An answer with somebody else's correlation data changes nothing."""
    with FakeAgent(broker.address()) as agent, Client(broker=broker.url) as client:
        forged = Outgoing(client_answers(client.client_id), b"{}", correlation=b"x" * 16)

        def forge(_: Delivery) -> None:
            agent.link.publish(forged)

        agent.behaviour = forge
        answer = client.ask("What?", context=CONTEXT, device="pi5")
        assert answer.status == "ok"


def test_public_names_exist() -> None:
    for name in edgeqa.__all__:
        assert getattr(edgeqa, name).__name__ == name
    with pytest.raises(AttributeError):
        edgeqa.__getattr__("nothing")
