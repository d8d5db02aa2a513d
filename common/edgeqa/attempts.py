"""The attempts of one link to connect: fresh certificates before each, a reason and a wait after.

Thread: the network thread, but for `begin`, `final` and `as_error`.
"""

from __future__ import annotations

import ssl
import sys

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode
from structlog.typing import FilteringBoundLogger

from edgeqa.broker import Broker
from edgeqa.errors import BrokerError, ConfigError
from edgeqa.link_trouble import Failure, no_connection, of_attempt, of_early_end, of_refusal
from edgeqa.transport import Backoff, Client, set_reconnect_delay


class Attempts:
    """Called by a link with what paho tells it.

    Args:
        broker: where to.
        log: for what fails.
    """

    def __init__(self, broker: Broker, log: FilteringBoundLogger) -> None:
        self._broker = broker
        self._log = log
        self._backoff = Backoff()
        self._last: Failure | None = None
        self._answered = False

    @property
    def final(self) -> bool:
        """Whether the last attempt failed in a way that the next would too."""
        last = self._last
        return last is not None and last.final

    def as_error(self) -> BrokerError:
        """For whoever waited for the connection."""
        last = self._last or no_connection()
        return BrokerError(f"broker at {self._broker.where}: {last.reason}", code=last.code)

    def begin(self) -> None:
        """Nothing was tried yet."""
        self._last = None

    def before(self, client: paho.Client) -> None:
        """One begins: with the certificates as they are now."""
        self._answered = False
        if self._broker.tls is None or not isinstance(client, Client):
            return
        try:
            client.use_tls(self._broker.tls.context())
        except ConfigError as error:  # half copied, perhaps; what was read before may do
            self._log.warning("tls_files_unusable", code=error.code, reason=str(error))

    def accepted(self) -> None:
        """The broker let us in."""
        self._answered = True
        self._backoff.reset()
        self._last = None

    def refused(self, reason: str) -> None:
        """The broker answered, and said no."""
        self._answered = True
        self._last = of_refusal(reason)

    def failed(self, client: paho.Client) -> None:
        """No connection came about; called while the exception is handled.

        paho tells the reason in no other way.
        """
        failure = self._noted(of_attempt(sys.exc_info()[1], self._broker))
        self._log.warning(
            "mqtt_connect_failed",
            host=self._broker.host,
            code=failure.code,
            reason=failure.reason,
            retry_s=self._back_off(client),
        )

    def ended(self, client: paho.Client, reason: ReasonCode) -> None:
        """A connection is over."""
        retry_s = self._back_off(client)
        if not reason.is_failure:
            return
        error = client.broke if isinstance(client, Client) else None
        if self._answered and not isinstance(error, ssl.SSLError):
            self._log.warning("mqtt_disconnected", reason=str(reason), retry_s=retry_s)
            return
        failure = self._noted(of_early_end(error, self._broker))
        self._log.warning(
            "mqtt_disconnected", code=failure.code, reason=failure.reason, retry_s=retry_s
        )

    def _noted(self, failure: Failure) -> Failure:
        if not self.final:  # else the end that follows a refusal would say less
            self._last = failure
        return failure

    def _back_off(self, client: paho.Client) -> float:
        delay_s = self._backoff.next_s()
        set_reconnect_delay(client, delay_s)
        return round(delay_s, 2)
