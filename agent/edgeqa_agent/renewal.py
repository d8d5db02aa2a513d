"""Renews this device's certificate over MQTT before it expires, and warns where that fails.

A new key is made here and never leaves; the cloud signs it; what comes back is judged, proven by a
TLS handshake with the broker, and only then written, in one step. Until then everything is as it
was, whatever fails: no cloud, a refusal, a broker that is away, a power cut. The connection that
stands goes on with the old certificate; the next one is made with the new.

Thread: one of its own, `renewal`.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import BrokerError, EdgeqaError
from edgeqa.identity.certificate import Identity, IdentityError, shown
from edgeqa.identity.roles import Role
from edgeqa.tls import CertificateFiles
from edgeqa_agent.identity import OwnIdentity, utc_now
from edgeqa_agent.renewal_exchange import CertificateExchange, RenewalError
from edgeqa_agent.renewal_plan import due_at, first_pause_s, pause_s, rest_s, worry_at
from edgeqa_agent.store_file import storing

# The clock may be set at any time; who sleeps longer would not notice.
_LOOK_EVERY_S = 600.0
_NO_BROKER_S = 15.0
_TELL_EVERY_S = 86_400.0
_JOIN_S = 5.0
_AFTER_BUG_S = 60.0


@dataclass(frozen=True, slots=True)
class Clocks:
    """Time and chance; others in tests.

    Attributes:
        now: by which certificates are judged; may jump.
        monotonic: seconds; never jumps.
        uniform: gives a number between two.
    """

    now: Callable[[], datetime] = utc_now
    monotonic: Callable[[], float] = time.monotonic
    uniform: Callable[[float, float], float] = random.uniform


class Renewal:
    """Of one agent. Use `start` and `stop`.

    Args:
        identity: what there is, and takes what comes.
        exchange: asks the cloud.
        prove: raises a BrokerError if the broker does not take a certificate.
        share: of the lifetime that is left when it is renewed; 0: never.
        log: for what happens.
        clocks: time and chance.
    """

    def __init__(
        self,
        *,
        identity: OwnIdentity,
        exchange: CertificateExchange,
        prove: Callable[[CertificateFiles], None],
        share: float,
        log: FilteringBoundLogger,
        clocks: Clocks | None = None,
    ) -> None:
        self._identity = identity
        self._exchange = exchange
        self._prove = prove
        self._share = share
        self._log = log
        self._clocks = clocks or Clocks()
        # Issued, and not yet in use: proving or writing it failed.
        self._issued: bytes | None = None
        self._failures = 0
        self._again_at: float | None = None
        self._tell_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, also in the middle; idempotent."""
        self._stop.set()
        self._exchange.cancel()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def turn(self) -> float:
        """Look whether it is time, and if so, renew; seconds until the next look."""
        now, clock_s = self._clocks.now(), self._clocks.monotonic()
        try:
            current = self._identity.current()
        except IdentityError as error:
            self._log.error("identity_unusable", code=error.code, reason=str(error))
            return _LOOK_EVERY_S
        self._worry(current, now, clock_s)
        wait_s = self._wait_s(current, now, clock_s)
        if wait_s > 0:
            return wait_s
        try:
            renewed = self._renew()
        except EdgeqaError as error:
            return 0.0 if self._stop.is_set() else self._failed(error, current)
        left = renewed.until - self._clocks.now()
        self._failures, self._again_at = 0, clock_s + rest_s(left)
        self._log.info("certificate_renewed", expires=shown(renewed.until))
        return 0.0

    def _wait_s(self, current: Identity, now: datetime, clock_s: float) -> float:
        if not self._share or current.role is not Role.DEVICE:
            return _LOOK_EVERY_S
        due_s = (due_at(current, self._share) - now).total_seconds()
        if due_s > 0:
            self._issued = None  # somebody has brought a newer one
            return min(due_s, _LOOK_EVERY_S)
        if self._again_at is None:
            self._again_at = clock_s + first_pause_s(current.until - now, self._clocks.uniform)
        if self._again_at > clock_s:
            return min(self._again_at - clock_s, _LOOK_EVERY_S)
        return 0.0 if self._exchange.possible else _NO_BROKER_S

    def _renew(self) -> Identity:
        if self._issued is None:
            self._issued = self._exchange.obtain(now=self._clocks.now)
        try:
            with storing("the new certificate cannot be kept"):
                with _in_memory(self._issued) as files:
                    self._prove(files)
                renewed = self._identity.adopt(self._issued)
        except BrokerError as error:
            if error.code == "certificate_refused":
                self._issued = None
            raise
        self._issued = None
        return renewed

    def _failed(self, error: EdgeqaError, current: Identity) -> float:
        refused = isinstance(error, RenewalError) and error.code != RenewalError.code
        left = current.until - self._clocks.now()
        wait_s = pause_s(
            failures=self._failures, refused=refused, left=left, uniform=self._clocks.uniform
        )
        self._failures += 1
        self._again_at = self._clocks.monotonic() + wait_s
        self._log.warning(
            "certificate_not_renewed",
            code=error.code,
            reason=str(error),
            failures=self._failures,
            retry_s=round(wait_s),
            expires=shown(current.until),
        )
        return min(wait_s, _LOOK_EVERY_S)

    def _worry(self, current: Identity, now: datetime, clock_s: float) -> None:
        if now < worry_at(current, self._share) or clock_s < self._tell_at:
            return
        self._tell_at = clock_s + _TELL_EVERY_S
        left_days = (current.until - now).total_seconds() / 86_400
        tell = self._log.error if left_days <= 0 else self._log.warning
        tell(
            "certificate_expired" if left_days <= 0 else "certificate_expires_soon",
            certificate=str(current.files.cert),
            expires=shown(current.until),
            days_left=round(left_days, 2),
            renews=bool(self._share) and current.role is Role.DEVICE,
        )

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            try:
                wait_s = self.turn()
            except Exception:  # noqa: BLE001  a thread's edge; logged with its traceback
                self._log.exception("renewal_failed")
                wait_s = _AFTER_BUG_S


@contextlib.contextmanager
def _in_memory(pem: bytes) -> Iterator[CertificateFiles]:
    """A key that is not proven comes on no disk. OpenSSL reads certificates from paths alone."""
    handle = os.memfd_create("edgeqa-certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(handle), "wb") as file:
            file.write(pem)
        yield CertificateFiles(Path(f"/proc/self/fd/{handle}"))
    finally:
        os.close(handle)
