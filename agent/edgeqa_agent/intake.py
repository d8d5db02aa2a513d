"""From the bytes of a question to what the model is to do: every check that needs no model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeqa.errors import PayloadError
from edgeqa.messages import Ask, Item, parse_payload
from edgeqa.packets import Delivery
from edgeqa_agent.jobs import Outcome, Task, refused

_MAX_ID_CHARS = 128


@dataclass(frozen=True, slots=True)
class QuestionLimits:
    """What one message may hold."""

    max_batch: int
    max_payload_bytes: int
    max_context_chars: int


class Intake:
    """Checks questions against the limits, and fetches the texts that they name."""

    def __init__(self, *, limits: QuestionLimits, stored_text: Callable[[str], str]) -> None:
        self._limits = limits
        self._stored_text = stored_text

    def parse(self, payload: bytes) -> Ask:
        """The request in a payload.

        Raises:
            PayloadError: as `parse_payload`.
        """
        return parse_payload(Ask, payload, most_bytes=self._limits.max_payload_bytes)

    def id_in(self, payload: bytes) -> str | None:
        """The id in a malformed request; one that is too large is not parsed for it."""
        return None if len(payload) > self._limits.max_payload_bytes else id_in(payload)

    def plan(self, items: Sequence[Item], *, batch: bool, strict: bool) -> list[Task | Outcome]:
        """What to do for each item: a task for the model, or a refusal.

        Args:
            items: of the request, defaults filled in.
            batch: a bad item is refused in its place and does not spoil the others.
            strict: raise `unknown_context` also in a batch.

        Raises:
            PayloadError: `batch_too_large`; without `batch`, the refusal of the one item.
        """
        if len(items) > self._limits.max_batch:
            raise PayloadError(
                f"{len(items)} questions; this device takes {self._limits.max_batch} at once",
                code="batch_too_large",
            )
        steps: list[Task | Outcome] = []
        for item in items:
            try:
                steps.append(self._task(item))
            except PayloadError as error:
                if not batch or (strict and error.code == "unknown_context"):
                    raise
                steps.append(refused(error.code, str(error)))
        return steps

    def _task(self, item: Item) -> Task:
        item.check()
        text = item.context
        if text is None:
            text = self._stored_text(item.context_id or "")
        if len(text) > self._limits.max_context_chars:
            raise PayloadError(
                f"a context of {len(text)} characters; this device takes "
                f"{self._limits.max_context_chars}",
                code="context_too_long",
            )
        return Task(item.question, text, item.top_k or 1)


def stop_at(delivery: Delivery, ask: Ask) -> float | None:
    """When nobody wants the answer any more: the earlier of deadline and message expiry."""
    limits_s = [
        limit
        for limit in (ask.deadline_ms and ask.deadline_ms / 1000, delivery.expiry_s)
        if limit is not None
    ]
    return delivery.received_at + min(limits_s) if limits_s else None


def id_in(payload: bytes) -> str | None:
    """The id of a request that may be malformed elsewhere, so that its refusal can name it."""
    try:
        found = json.loads(payload)["id"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if isinstance(found, str) and 0 < len(found) <= _MAX_ID_CHARS else None
