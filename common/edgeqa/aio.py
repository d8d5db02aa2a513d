"""Asking questions from asyncio: the same client, awaited.

The connection stays in the sync client's threads, so a busy event loop cannot make it miss its
keep-alive. A cancelled task forgets its question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self, Unpack

from edgeqa.broker import BrokerSettings
from edgeqa.client import MAX_PENDING, Client
from edgeqa.errors import AnswerTimeoutError
from edgeqa.messages import Answer, Item, Status
from edgeqa.questions import DEFAULT_TIMEOUT_S, AskOptions


class AsyncClient:
    """`Client` for asyncio; use it in an `async with` block. Arguments and errors are the same."""

    def __init__(
        self,
        *,
        broker: str | BrokerSettings = "mqtt://localhost:1883",
        max_pending: int = MAX_PENDING,
    ) -> None:
        self._client = Client(broker=broker, max_pending=max_pending)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """As `Client.start`."""
        await asyncio.to_thread(self._client.start)

    async def stop(self) -> None:
        """As `Client.stop`."""
        await asyncio.to_thread(self._client.stop)

    async def ask(self, question: str, **options: Unpack[AskOptions]) -> Answer:
        """As `Client.ask`."""
        return await self._answer(question, options)

    async def ask_batch(self, items: Sequence[str | Item], **options: Unpack[AskOptions]) -> Answer:
        """As `Client.ask_batch`."""
        return await self._answer(items, options)

    async def store_context(
        self, device: str, context_id: str, text: str, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        """As `Client.store_context`."""
        await asyncio.to_thread(
            self._client.store_context, device, context_id, text, timeout_s=timeout_s
        )

    async def delete_context(
        self, device: str, context_id: str, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        """As `Client.delete_context`."""
        await asyncio.to_thread(
            self._client.delete_context, device, context_id, timeout_s=timeout_s
        )

    async def status(self, device: str, *, timeout_s: float = 2.0) -> Status:
        """As `Client.status`."""
        return await asyncio.to_thread(self._client.status, device, timeout_s=timeout_s)

    async def _answer(self, question: str | Sequence[str | Item], options: AskOptions) -> Answer:
        try:
            return await asyncio.wrap_future(self._client.submit(question, **options))
        except AnswerTimeoutError as error:
            device = options.get("device")
            raise await asyncio.to_thread(self._client.explain_timeout, error, device) from None
