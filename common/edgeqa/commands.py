"""Building a command to a device, and reading its reply."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping

from pydantic import ValidationError

from edgeqa.codes import exit_code_of_swap
from edgeqa.errors import AnswerError, ExitCode, PayloadError
from edgeqa.model_messages import Command, CommandReply, Verb
from edgeqa.packets import Outgoing
from edgeqa.pending import Request
from edgeqa.questions import CORRELATION_BYTES, checked_timeout
from edgeqa.telemetry_messages import EvaluateCommand, ResendCommand
from edgeqa.topics import DeviceTopics


def unix_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class RisingNumbers:
    """Numbers of commands: the time, but never the same and never less. Thread: any."""

    def __init__(self, now_ms: Callable[[], int] = unix_ms) -> None:
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> int:
        """A number higher than all before."""
        with self._lock:
            self._last = max(self._last + 1, self._now_ms())
            return self._last


# Not a setting but a fact of the process: two connections to one device must not give two commands
# of one millisecond the same number.
NUMBERS = RisingNumbers()


# What the commands say that say more than that they are one.
_KINDS: dict[Verb, type[Command]] = {
    Verb.EVALUATE: EvaluateCommand,
    Verb.RESEND: ResendCommand,
}


def build_command(
    device: str,
    verb: Verb | str,
    *,
    number: int,
    timeout_s: float,
    response_topic: str,
    fields: Mapping[str, object] | None = None,
) -> Request[CommandReply]:
    """A command that is ready to be published, and is not obeyed after its timeout.

    Args:
        device: to obey it.
        verb: what to do.
        number: higher than that of all commands before.
        timeout_s: for the reply, and for obeying it.
        response_topic: where the reply goes.
        fields: what this verb says beside.

    Raises:
        PayloadError: the verb is unknown, the timeout no time, or the fields are not the verb's.
    """
    if verb not in set(Verb):
        raise PayloadError(f"verb: {verb!r:.40} is none of {', '.join(Verb)}")
    expires_ms = unix_ms() + round(1000 * checked_timeout(timeout_s))
    correlation = secrets.token_bytes(CORRELATION_BYTES)
    said = {"id": correlation.hex(), "number": number, "expires_ms": expires_ms, **(fields or {})}
    try:
        command = _KINDS.get(Verb(verb), Command).model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PayloadError(f"{where}: {first['msg']}") from error
    target = f"device {device}"
    return Request(
        message=Outgoing(
            topic=DeviceTopics(device).command(str(Verb(verb))),
            payload=command.to_json(),
            response_topic=response_topic,
            correlation=correlation,
        ),
        correlation=correlation,
        target=target,
        timeout_s=timeout_s,
        deadline=time.monotonic() + timeout_s,
        read=lambda payload: read_reply(payload, target),
        # A device refuses a repeat, whether it obeyed the first or not.
        repeatable=False,
    )


def read_reply(payload: bytes, target: str) -> CommandReply | AnswerError:
    """The reply in a payload, or why the command was not obeyed."""
    try:
        reply = CommandReply.model_validate_json(payload)
    except ValidationError:
        return AnswerError(f"{target} sent no valid reply", code="invalid_answer")
    if reply.error is None and reply.status == "ok":
        return reply
    if reply.error is None:
        return AnswerError(f"{target} refused without a reason", exit_code=ExitCode.REFUSED)
    code = reply.error.code
    return AnswerError(reply.error.message, code=code, exit_code=exit_code_of_swap(code))
