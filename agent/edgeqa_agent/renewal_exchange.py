"""One request for a certificate at a time, and its reply: the agent's side of the two topics.

Thread: `obtain` in the one that renews, `on_issued` in the network thread, `cancel` in any.
"""

from __future__ import annotations

import contextlib
import queue
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from edgeqa.certificate_messages import CertificateIssued, CertificateRequest
from edgeqa.errors import EdgeqaError, PayloadError
from edgeqa.exchange import NO_SUBSCRIBERS
from edgeqa.identity.roles import Role
from edgeqa.messages import parse_payload
from edgeqa.packets import Delivered, Delivery, Outgoing
from edgeqa.topics import DeviceTopics

_MAX_REPLY_BYTES = 32 << 10
# More than one reply waits only where somebody sends what was not asked for.
_MAX_REPLIES = 4
# The cloud signs in milliseconds; this is for slow networks.
REPLY_S = 60.0


class RenewalError(EdgeqaError):
    """The cloud did not issue a certificate; `code` is its own, or says that nobody answered."""

    code = "renewal_unanswered"


class Link(Protocol):
    """The part of a connection that renewals need."""

    @property
    def connected(self) -> bool:
        """Whether it stands."""

    def publish(self, message: Outgoing, delivered: Delivered | None = None) -> None:
        """Hand a message over."""


class CertificateExchange:
    """Of one device.

    Args:
        device: who asks.
        link: to the cloud; asked for when it is needed.
        log: for replies that are none.
        reply_s: how long to wait for one.
    """

    def __init__(
        self,
        *,
        device: str,
        link: Callable[[], Link],
        log: FilteringBoundLogger,
        reply_s: float = REPLY_S,
    ) -> None:
        self._device = device
        self._topic = DeviceTopics(device).certificate_request
        self._link = link
        self._log = log
        self._reply_s = reply_s
        self._replies: queue.Queue[CertificateIssued] = queue.Queue(_MAX_REPLIES)
        self._awaited: str | None = None

    @property
    def possible(self) -> bool:
        """Whether there is a connection."""
        return self._link().connected

    def obtain(self, *, now: Callable[[], datetime]) -> bytes:
        """A certificate of the cloud's for a new key, with that key: one PEM file.

        Args:
            now: by which it is judged.

        Raises:
            RenewalError: there is none.
            IdentityError: it is not what was asked for.
            BrokerError: the link takes no more.
        """
        # With the library of certificates, which an agent without one does not load.
        from edgeqa.identity.renewing import new_candidate  # noqa: PLC0415

        candidate = new_candidate(Role.DEVICE, self._device)
        request = CertificateRequest(
            id=secrets.token_hex(8), device=self._device, request=candidate.request()
        )
        reply = self._ask(request)
        if reply.certificate is None:
            raise RenewalError(reply.message or "no reason given", code=reply.code)
        return candidate.completed(reply.certificate, now=now())

    def cancel(self) -> None:
        """Whoever waits need not wait any longer."""
        self._put(CertificateIssued(id="-", code="stopping"))

    def on_issued(self, delivery: Delivery) -> None:
        """The cloud's reply."""
        try:
            reply = parse_payload(CertificateIssued, delivery.payload, most_bytes=_MAX_REPLY_BYTES)
        except PayloadError as error:
            self._log.warning("certificate_reply_malformed", code=error.code, reason=str(error))
            return
        if reply.id == self._awaited:
            self._put(reply)
        else:  # too late, or never asked for
            self._log.info("certificate_reply_not_awaited", id=reply.id)

    def _ask(self, request: CertificateRequest) -> CertificateIssued:
        with contextlib.suppress(queue.Empty):
            while True:
                self._replies.get_nowait()

        def delivered(reason: str | None) -> None:
            if reason is not None:
                said = "nobody listens" if reason == NO_SUBSCRIBERS else reason
                code = RenewalError.code
                self._put(CertificateIssued(id=request.id, code=code, message=said))

        self._awaited = request.id
        try:
            # Of one that is answered too late, the answer is of no use.
            expiry_s = max(1, round(self._reply_s))
            message = Outgoing(self._topic, request.to_json(), expiry_s=expiry_s)
            self._link().publish(message, delivered)
            return self._replies.get(timeout=self._reply_s)
        except queue.Empty:
            raise RenewalError(f"no reply in {self._reply_s:g} s") from None
        finally:
            self._awaited = None

    def _put(self, reply: CertificateIssued) -> None:
        with contextlib.suppress(queue.Full):
            self._replies.put_nowait(reply)
