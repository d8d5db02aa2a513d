"""Commands to this device: obeyed once, in time, or refused with a reply.

Thread: `on_command` is called in the network thread and only queues; one thread of its own carries
commands out, because they write to disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import BrokerError, EdgeqaError, PayloadError
from edgeqa.messages import ModelRef, parse_payload
from edgeqa.model_messages import Command, CommandReply, Verb
from edgeqa.packets import Delivery, Outgoing
from edgeqa.topics import DeviceTopics, check_response_topic
from edgeqa_agent.orders import Orders, Rollback
from edgeqa_agent.reports import fault
from edgeqa_agent.store import Store

MAX_COMMAND_BYTES = 16 << 10
# Commands that wait; a person sends one at a time.
MAX_WAITING = 100


@dataclass(frozen=True, slots=True)
class Handler:
    """How a verb that another part of the agent carries out is done.

    Attributes:
        payload: what the command says.
        act: takes it, and gives fields of the reply; raises an `EdgeqaError` to refuse.
    """

    payload: type[Command]
    act: Callable[[Any], dict[str, Any]]


class Commands:
    """Carries out `commands/{verb}`.

    Args:
        topics: of this device.
        boot_id: of the agent.
        store: remembers the last number.
        orders: takes rollbacks.
        handlers: of verbs that other parts carry out.
        model: gives the model that answers now.
        now_ms: milliseconds since 1970, never behind what this device has trusted before.
        publish: takes a reply.
        log: for what was commanded.
    """

    def __init__(
        self,
        *,
        topics: DeviceTopics,
        boot_id: str,
        store: Store,
        orders: Orders,
        model: Callable[[], ModelRef | None],
        now_ms: Callable[[], int],
        publish: Callable[[Outgoing], None],
        log: FilteringBoundLogger,
        handlers: Mapping[str, Handler] | None = None,
    ) -> None:
        self._topics = topics
        self._boot_id = boot_id
        self._store = store
        self._orders = orders
        self._model = model
        self._now_ms = now_ms
        self._publish = publish
        self._log = log
        self._handlers = dict(handlers or {})
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commands")

    def on_command(self, delivery: Delivery) -> None:
        """Take a command."""
        if self._waiting >= MAX_WAITING:
            self._log.warning("command_dropped", topic=delivery.topic)
            return
        self._waiting += 1
        self._thread.submit(self._guarded, delivery)

    def stop(self) -> None:
        """Finish what is under way."""
        self._thread.shutdown(cancel_futures=True)

    def _guarded(self, delivery: Delivery) -> None:
        try:
            self._carry_out(delivery)
        except Exception:  # noqa: BLE001  a thread's edge; logged with its traceback
            self._log.exception("command_failed", topic=delivery.topic)
        finally:
            self._waiting -= 1

    def _carry_out(self, delivery: Delivery) -> None:
        verb = self._topics.verb(delivery.topic) or ""
        command: Command | None = None

        def reply(error: EdgeqaError | None, **fields: Any) -> None:
            self._reply(delivery, verb, command, error, fields)

        try:
            command = self._accepted(delivery, verb)
            self._log.info("command", verb=verb, number=command.number)
            if verb == Verb.ROLLBACK:
                self._orders.put(Rollback(reply))
            elif verb == Verb.PRUNE:
                reply(None, freed_bytes=self._store.prune(keep_quota=False))
            elif verb == Verb.PACKAGES:
                reply(None, packages=self._store.packages())
            elif handler := self._handlers.get(verb):
                reply(None, **handler.act(command))
            else:
                reply(None)
        except EdgeqaError as error:
            reply(error)

    def _accepted(self, delivery: Delivery, verb: str) -> Command:
        """The command, if it is to be obeyed.

        Raises:
            PayloadError: `unknown_command`, `command_replayed`, `command_expired` or malformed.
        """
        if verb not in set(Verb):
            raise PayloadError(f"no command {verb!r:.40} is known here", code="unknown_command")
        handler = self._handlers.get(verb)
        payload = handler.payload if handler else Command
        command = parse_payload(payload, delivery.payload, most_bytes=MAX_COMMAND_BYTES)
        if delivery.retain:
            raise PayloadError(
                "a retained command is from the past; publish it without retain",
                code="command_replayed",
            )
        now_ms = self._now_ms()
        if now_ms > command.expires_ms:
            late_s = (now_ms - command.expires_ms) / 1000
            raise PayloadError(
                f"it expired {late_s:.1f} s ago by this device's clock", code="command_expired"
            )
        if not self._store.accept_command(command.number):
            raise PayloadError(
                f"its number {command.number} is not higher than that of the last command "
                f"({self._store.state.command_number})",
                code="command_replayed",
            )
        return command

    def _reply(
        self,
        delivery: Delivery,
        verb: str,
        command: Command | None,
        error: EdgeqaError | None,
        fields: dict[str, Any],
    ) -> None:
        if error is not None:
            self._log.warning("command_refused", verb=verb[:40], code=error.code, reason=str(error))
        answer = CommandReply(
            status="error" if error else "ok",
            verb=verb[:64],
            device=self._topics.device,
            boot_id=self._boot_id,
            id=command.id if command else None,
            number=command.number if command else None,
            error=fault(error) if error else None,
            active=self._model(),
            **fields,
        )
        topic = self._topics.answers
        try:
            if delivery.response_topic is not None:
                topic = check_response_topic(delivery.response_topic)
            self._publish(Outgoing(topic, answer.to_json(), correlation=delivery.correlation))
        except (PayloadError, BrokerError) as failure:
            self._log.warning("command_reply_lost", verb=verb[:40], code=failure.code)
