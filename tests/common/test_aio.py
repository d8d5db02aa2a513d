"""The asyncio client over a real broker."""

from __future__ import annotations

import asyncio

import pytest
from support.broker import Broker
from support.fake_agent import DropError, FakeAgent

from edgeqa import AnswerError, AnswerTimeoutError, AsyncClient
from edgeqa.packets import Delivery

CONTEXT = "Oxygen was discovered in 1774."


def drop_silent(delivery: Delivery) -> None:
    if b"Silent" in delivery.payload:
        raise DropError


def test_many_questions_at_once(broker: Broker) -> None:
    async def scenario() -> list[str]:
        async with AsyncClient(broker=broker.url) as client:
            answers = await asyncio.gather(
                *(client.ask("?", context=f"w{n} x", device="pi5") for n in range(100))
            )
            batch = await client.ask_batch(["a?", "b?"], context=CONTEXT, device="pi5")
            assert len(batch.results or []) == 2
            assert (await client.status("pi5")).status == "online"
            await client.store_context("pi5", "manual", CONTEXT)
            await client.ask("?", context_id="manual", device="pi5")
            await client.delete_context("pi5", "manual")
            return [(answer.answers or [])[0].text for answer in answers]

    with FakeAgent(broker.address()):
        assert asyncio.run(scenario()) == [f"w{n}" for n in range(100)]


def test_cancelling_forgets_the_question(broker: Broker) -> None:
    async def scenario() -> None:
        async with AsyncClient(broker=broker.url, max_pending=1) as client:
            task = asyncio.create_task(client.ask("Silent", context=CONTEXT, device="pi5"))
            await asyncio.sleep(0.1)
            with pytest.raises(AnswerError, match="wait for their answers"):
                await client.ask("Full?", context=CONTEXT, device="pi5")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await client.ask("Free?", context=CONTEXT, device="pi5")

    with FakeAgent(broker.address(), behaviour=drop_silent):
        asyncio.run(scenario())


def test_a_timeout_and_a_missing_agent(broker: Broker) -> None:
    async def scenario() -> None:
        async with AsyncClient(broker=broker.url) as client:
            with pytest.raises(AnswerTimeoutError, match="it is online"):
                await client.ask("Silent", context=CONTEXT, device="pi5", timeout_s=0.1)
            with pytest.raises(AnswerError, match="no agent"):
                await client.ask("?", context=CONTEXT, device="nowhere")

    with FakeAgent(broker.address(), behaviour=drop_silent):
        asyncio.run(scenario())
