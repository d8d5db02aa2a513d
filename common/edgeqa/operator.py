"""The operator's side of model swaps: wishes for devices, their reports, and commands.

A wish is kept by the broker, so a device that is offline follows it when it is back. Commands are
for devices that are there: they expire.
"""

from __future__ import annotations

import secrets
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Self

from pydantic import ValidationError

from edgeqa.broker import BrokerSettings
from edgeqa.commands import NUMBERS, build_command
from edgeqa.connection import Connection
from edgeqa.errors import PayloadError
from edgeqa.evaluating import EvaluationWatch
from edgeqa.following import Following
from edgeqa.messages import Status
from edgeqa.model_messages import CommandReply, Desired, Gates, Reported, Shadow, Verb
from edgeqa.questions import DEFAULT_TIMEOUT_S, checked_name, checked_timeout
from edgeqa.topics import DeviceTopics

# Commands that may wait for their replies at once.
MAX_PENDING = 10_000
_WISH_ID_BYTES = 16


def new_wish_id() -> str:
    """An id for a wish: 128 random bits, so that no two wishes share one."""
    return secrets.token_hex(_WISH_ID_BYTES)


class Operator:
    """Changes the models of devices. Use it in a `with` block, or call `start` and `stop`.

    Args:
        broker: URL such as `mqtt://broker.local`, or settings with credentials and certificates.

    Thread: all methods from any thread.
    """

    def __init__(self, *, broker: str | BrokerSettings = "mqtt://localhost:1883") -> None:
        self._connection = Connection(broker=broker, max_pending=MAX_PENDING)
        self._lock = threading.Lock()
        self._followings: weakref.WeakSet[Following] = weakref.WeakSet()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Connect.

        Raises:
            ConfigError: the broker's settings are wrong.
            BrokerError: no connection in `broker_connect_timeout_s`, or the broker refused it.
        """
        self._connection.start()

    def stop(self) -> None:
        """Disconnect; commands that wait, and followings, end with `client_stopped`."""
        with self._lock:
            followings = list(self._followings)
        for following in followings:
            following.stop()
        self._connection.stop()

    def wish(
        self,
        device: str,
        name: str,
        version: str,
        *,
        digest: str | None = None,
        gates: Gates | None = None,
        shadow: Shadow | None = None,
        rollout: str | None = None,
        wish_id: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Desired:
        """Say which model a device shall run, and wait until the broker has it.

        The device may be offline. The newest wish wins, whoever made it.

        Args:
            device: whose model.
            name: of the package.
            version: of the package.
            digest: refuse any other package of that name and version.
            gates: what the model must reach on this device, beside the device's own.
            shadow: first let it answer live questions unseen.
            rollout: echoed in reports.
            wish_id: `new_wish_id()` if not said; say it to `follow` from before the wish.
            timeout_s: how long the broker may take.

        Raises:
            PayloadError: a name, a version or a digest is none.
            AnswerTimeoutError: the broker did not take it in time; it may yet.
            BrokerError: the broker refused it.
        """
        fields = {
            "id": new_wish_id() if wish_id is None else wish_id,
            "name": name,
            "version": version,
            "digest": digest,
            "gates": gates,
            "shadow": shadow,
            "rollout": rollout,
        }
        try:
            wish = Desired.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise PayloadError(f"{where}: {first['msg']}") from error
        self._retain_wish(device, wish.to_json(), timeout_s)
        return wish

    def withdraw(self, device: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Take the wish back: a device drops what is under way for it. No error if there is none.

        Raises:
            PayloadError: the device's name is none.
            AnswerTimeoutError: the broker did not take it in time; it may yet.
            BrokerError: the broker refused it.
        """
        self._retain_wish(device, b"", timeout_s)

    def desired(self, device: str, *, timeout_s: float = 2.0) -> Desired | None:
        """The device's wish as the broker holds it; None if it sends none in time.

        Raises:
            PayloadError: the device's name is none.
            BrokerError: no connection.
        """
        return self._connection.retained(Desired, _topics(device).desired, timeout_s)

    def reported(self, device: str, *, timeout_s: float = 2.0) -> Reported | None:
        """The device's last report; None if the broker sends no valid one in time.

        Raises:
            PayloadError: the device's name is none.
            BrokerError: no connection.
        """
        return self._connection.retained(Reported, _topics(device).reported, timeout_s)

    def status(self, device: str, *, timeout_s: float = 2.0) -> Status:
        """The device's retained presence.

        Raises:
            PayloadError: the device's name is none.
            AnswerTimeoutError: the broker holds none: the device was never online.
            BrokerError: no connection.
        """
        return self._connection.status(checked_name(device, "device"), timeout_s)

    def follow(
        self,
        device: str,
        wish_id: str,
        timeout_s: float,
        *,
        on_presence: Callable[[Status], None] | None = None,
    ) -> Following:
        """Each report about a wish, until one is final or the wish is superseded.

        It subscribes before it returns: called before `wish`, it misses nothing. To end it early,
        use it in a `with` block or call its `stop`; why it ended is in its `course`.

        Args:
            device: whose reports.
            wish_id: of the wish, made or yet to be made.
            timeout_s: from now to the end; a device that is offline may come within it.
            on_presence: called, while iterating, when the device comes or goes, and first of all.

        Raises:
            PayloadError: the device's name is none, or the timeout no time.
            BrokerError: no connection, or the broker does not let us read the device's topics.
            AnswerTimeoutError: while iterating; says where the device stands.
        """
        broker, _ = self._connection.opened()
        following = Following(
            broker=broker,
            device=checked_name(device, "device"),
            wish_id=wish_id,
            timeout_s=checked_timeout(timeout_s),
            log=self._connection.log,
            on_presence=on_presence,
        )
        with self._lock:
            self._followings.add(following)
        return following.start()

    def evaluations(self, device: str) -> EvaluationWatch:
        """The results of evaluations that are ordered by `command`. Enter it before the order.

        Raises:
            PayloadError: the device's name is none.
            BrokerError: no connection.
        """
        broker, _ = self._connection.opened()
        return EvaluationWatch(broker=broker, device=device, log=self._connection.log)

    def command(
        self,
        device: str,
        verb: Verb | str,
        *,
        fields: Mapping[str, object] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> CommandReply:
        """Give an order and wait for the reply; the device will not obey it later than that.

        Args:
            device: to obey.
            verb: what to do.
            fields: what the verb says beside, such as `questions` of `evaluate`.
            timeout_s: for the reply.

        Raises:
            PayloadError: the verb is unknown, the fields are not its own, or the device's name is
                none.
            AnswerError: refused, with the device's code; or `no_agent`, nobody listens.
            AnswerTimeoutError: no reply in time: it may have been obeyed.
            BrokerError: too much waits for the broker.
        """
        checked_name(device, "device")
        with self._lock:  # what has the higher number must not be sent first
            request = build_command(
                device,
                verb,
                number=NUMBERS.next(),
                timeout_s=timeout_s,
                response_topic=self._connection.reply_topic,
                fields=fields,
            )
            future = self._connection.submit(request)
        return self._connection.result(future, device)

    def _retain_wish(self, device: str, payload: bytes, timeout_s: float) -> None:
        topic = _topics(device).desired
        self._connection.retain(topic, payload, what="wish", timeout_s=timeout_s)


def _topics(device: str) -> DeviceTopics:
    return DeviceTopics(checked_name(device, "device"))
