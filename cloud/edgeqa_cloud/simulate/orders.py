"""Commands to a simulated device: obeyed once, in time, or refused, by the rules of a real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from edgeqa.errors import BrokerError, EdgeqaError, PayloadError
from edgeqa.messages import Fault, ModelRef, parse_payload
from edgeqa.model_messages import Command, CommandReply, Verb
from edgeqa.packets import Delivery, Outgoing
from edgeqa.topics import DeviceTopics, check_response_topic

# The agent's own bound on a command.
MAX_COMMAND_BYTES = 16 << 10

CommandT = TypeVar("CommandT", bound=Command)
Obeyed = Callable[[bytes], dict[str, Any]]


def command_in(kind: type[CommandT], payload: bytes) -> CommandT:
    """The command in a payload.

    Raises:
        PayloadError: it holds none.
    """
    return parse_payload(kind, payload, most_bytes=MAX_COMMAND_BYTES)


class Orders:
    """Carries out `commands/{verb}` of one device.

    Args:
        topics: of the device.
        boot_id: of its start.
        now_ms: its wall clock.
        model: gives the model that answers now.
        publish: takes a reply.
        verbs: what to do for each verb, given the payload; returns fields of the reply.
    """

    def __init__(
        self,
        *,
        topics: DeviceTopics,
        boot_id: str,
        now_ms: Callable[[], int],
        model: Callable[[], ModelRef],
        publish: Callable[[Outgoing], None],
        verbs: Mapping[str, Obeyed],
    ) -> None:
        self._topics = topics
        self._boot_id = boot_id
        self._now_ms = now_ms
        self._model = model
        self._publish = publish
        self._verbs = verbs
        self._last = 0

    def obey(self, delivery: Delivery) -> bool:
        """Obey or refuse, and reply; whether it was obeyed."""
        verb = self._topics.verb(delivery.topic) or ""
        command: Command | None = None
        fault: Fault | None = None
        fields: dict[str, Any] = {}
        try:
            command = self._accepted(delivery, verb)
            fields = self._verbs[verb](delivery.payload)
        except EdgeqaError as error:
            fault = Fault(code=error.code, message=str(error))
        reply = CommandReply(
            status="error" if fault else "ok",
            verb=verb[:64],
            device=self._topics.device,
            boot_id=self._boot_id,
            id=command.id if command else None,
            number=command.number if command else None,
            error=fault,
            active=self._model(),
            **fields,
        )
        self._answer(delivery, reply)
        return fault is None

    def _accepted(self, delivery: Delivery, verb: str) -> Command:
        if verb not in self._verbs:
            known = "is known here" if verb not in set(Verb) else "is obeyed by a simulated device"
            raise PayloadError(f"no command {verb!r:.40} {known}", code="unknown_command")
        command = command_in(Command, delivery.payload)
        if delivery.retain:
            raise PayloadError("a retained command is from the past", code="command_replayed")
        if self._now_ms() > command.expires_ms:
            raise PayloadError("it expired, by this device's clock", code="command_expired")
        if command.number <= self._last:
            raise PayloadError(
                f"its number {command.number} is not higher than {self._last}",
                code="command_replayed",
            )
        self._last = command.number
        return command

    def _answer(self, delivery: Delivery, reply: CommandReply) -> None:
        topic = self._topics.answers
        try:
            if delivery.response_topic is not None:
                topic = check_response_topic(delivery.response_topic)
            self._publish(Outgoing(topic, reply.to_json(), correlation=delivery.correlation))
        except (PayloadError, BrokerError):
            return  # nobody can be told
