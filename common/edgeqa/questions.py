"""Building a request for an ask topic, with the errors that an agent would answer with."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import TypedDict

from pydantic import ValidationError

from edgeqa.codes import exit_code_of
from edgeqa.errors import AnswerError, PayloadError
from edgeqa.messages import Answer, Ask, Item, Quality
from edgeqa.packets import Outgoing
from edgeqa.pending import Request
from edgeqa.topics import DeviceTopics, group_ask, is_name

# MQTT 5, section 3.3.2.3.6: opaque bytes. 128 random bits make a clash, or a guess, hopeless.
CORRELATION_BYTES = 16
DEFAULT_TIMEOUT_S = 10.0
# A day: far beyond any queue, and within MQTT's four bytes for the expiry.
MAX_TIMEOUT_S = 86_400.0
_FIELDS = ("context", "context_id", "top_k", "deadline_ms", "quality")


class AskOptions(TypedDict, total=False):
    """How to ask.

    Attributes:
        context: the text that holds the answer; or `context_id`.
        context_id: a text that was stored on the device.
        device: who shall answer; or `group`.
        group: any one agent of it shall answer.
        top_k: answers wanted, best first; 1 unless said.
        deadline_ms: the agent shall refuse rather than begin later than this.
        quality: which model of a device that has two.
        timeout_s: how long to wait, 10 s unless said; the broker drops the question after that.
    """

    context: str | None
    context_id: str | None
    device: str | None
    group: str | None
    top_k: int | None
    deadline_ms: int | None
    quality: Quality | None
    timeout_s: float


def ask_topic(device: str | None, group: str | None) -> tuple[str, str]:
    """The topic to publish to, and the target in words.

    Raises:
        PayloadError: neither or both are given, or it cannot be a name.
    """
    if (device is None) == (group is None):
        raise PayloadError("say either a device or a group to ask")
    if device is not None:
        return DeviceTopics(checked_name(device, "device")).ask, f"device {device}"
    return group_ask(checked_name(str(group), "group")), f"group {group}"


def checked_name(name: str, what: str) -> str:
    """The name itself.

    Raises:
        PayloadError: it cannot be one level of a topic.
    """
    if not is_name(name):
        raise PayloadError(
            f"{what}: {name!r:.80} must be 1 to 64 letters, digits, '.', '_' or '-', and begin "
            "with a letter or digit"
        )
    return name


def checked_timeout(timeout_s: float) -> float:
    """The timeout itself.

    Raises:
        PayloadError: nobody waits so long, or so short.
    """
    if not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise PayloadError(f"timeout_s: must be more than 0 and at most {MAX_TIMEOUT_S:g}")
    return timeout_s


def build_question(
    questions: str | Sequence[str | Item], options: AskOptions, *, response_topic: str
) -> Request[Answer]:
    """A request that is ready to be published.

    Args:
        questions: one question, or the items of a batch.
        options: what else the caller said.
        response_topic: where the answer shall come.

    Raises:
        PayloadError: what an agent would refuse, with the same code.
    """
    topic, target = ask_topic(options.get("device"), options.get("group"))
    timeout_s = checked_timeout(options.get("timeout_s", DEFAULT_TIMEOUT_S))
    correlation = secrets.token_bytes(CORRELATION_BYTES)
    message = Outgoing(
        topic=topic,
        payload=_ask(questions, options, correlation.hex()).to_json(),
        response_topic=response_topic,
        correlation=correlation,
    )
    return Request(
        message=message,
        correlation=correlation,
        target=target,
        timeout_s=timeout_s,
        deadline=time.monotonic() + timeout_s,
        read=lambda payload: read_answer(payload, target),
    )


def _ask(questions: str | Sequence[str | Item], options: AskOptions, ask_id: str) -> Ask:
    fields = {name: options.get(name) for name in _FIELDS}
    try:
        if isinstance(questions, str):
            ask = Ask.model_validate({"id": ask_id, "question": questions, **fields})
        else:
            items = [_item(one) for one in questions]
            ask = Ask.model_validate({"id": ask_id, "questions": items, **fields})
        for item in ask.items():
            item.check()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PayloadError(f"{where}: {first['msg']}") from error
    return ask


def read_answer(payload: bytes, target: str) -> Answer | AnswerError:
    """The answer in a payload, or why there is none."""
    try:
        answer = Answer.model_validate_json(payload)
    except ValidationError:
        return AnswerError(f"{target} sent no valid answer", code="invalid_answer")
    if answer.error is None:
        return answer
    code = answer.error.code
    return AnswerError(answer.error.message, code=code, exit_code=exit_code_of(code))


def _item(one: str | Item) -> Item:
    return Item(question=one) if isinstance(one, str) else one
