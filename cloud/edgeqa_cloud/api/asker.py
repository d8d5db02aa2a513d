"""Asks devices over MQTT, for whoever asks at the API or the page.

One connection for all, made when it is first needed. It is the cloud's: devices see no difference
to any other client.

Thread: any.
"""

from __future__ import annotations

import contextlib
import threading

from edgeqa.broker import BrokerSettings
from edgeqa.client import Client
from edgeqa.errors import AnswerError, ExitCode
from edgeqa.messages import Answer

# Questions that wait at once: each holds one of the API's threads.
MAX_AT_ONCE = 16
USUAL_WAIT_S = 15.0
MAX_WAIT_S = 60.0


class Asker:
    """Use `stop` at the end.

    Args:
        broker: where devices are.
    """

    def __init__(self, *, broker: BrokerSettings) -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(MAX_AT_ONCE)
        self._client: Client | None = None
        self._stopped = False

    def ask(
        self,
        device: str,
        question: str,
        context: str | None = None,
        *,
        context_id: str | None = None,
        top_k: int = 1,
        timeout_s: float = USUAL_WAIT_S,
    ) -> Answer:
        """Ask a device, and wait for the answer.

        Raises:
            PayloadError: the question cannot be asked like this.
            AnswerError: refused, with the agent's code; or nobody listens; or too many wait.
            AnswerTimeoutError: no answer in time.
            BrokerError: no connection.
        """
        if not self._room.acquire(blocking=False):
            raise AnswerError(
                f"{MAX_AT_ONCE} questions wait for devices already; try again in a moment",
                code="too_many_pending",
                exit_code=ExitCode.UNREACHABLE,
            )
        try:
            return self._connected().ask(
                question, device=device, context=context, context_id=context_id, top_k=top_k,
                timeout_s=min(timeout_s, MAX_WAIT_S),
            )  # fmt: skip
        finally:
            self._room.release()

    def stop(self) -> None:
        """Disconnect; questions that wait fail."""
        with self._lock:
            client, self._client = self._client, None
            self._stopped = True
        if client is not None:
            client.stop()

    def _connected(self) -> Client:
        with self._lock:
            if self._stopped:
                raise AnswerError(
                    "the cloud is stopping", code="client_stopped", exit_code=ExitCode.UNREACHABLE
                )
            if self._client is None:
                client = Client(broker=self._broker, max_pending=MAX_AT_ONCE)
                try:
                    client.start()
                except BaseException:
                    with contextlib.suppress(Exception):
                        client.stop()
                    raise
                self._client = client
            return self._client
