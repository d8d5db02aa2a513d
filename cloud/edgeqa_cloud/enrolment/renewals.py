"""What a device is answered that asks for its next certificate.

The broker's access rules prove which device asks: only it may publish under its name. So its name
in the topic is what counts; the message and the signing request in it must say the same. It must
hold a certificate that counts: not revoked, not expired. What is issued is in the registry before
it is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError
from structlog.typing import FilteringBoundLogger

from edgeqa.certificate_messages import CertificateIssued, CertificateRequest
from edgeqa.errors import EdgeqaError, PayloadError
from edgeqa.identity.roles import Role
from edgeqa.messages import parse_payload
from edgeqa.topics import device_in
from edgeqa_cloud.database import Database, reason
from edgeqa_cloud.enrolment.authority import Authority, Issued
from edgeqa_cloud.enrolment.refusals import NotEnrolledError, RenewedTooOftenError
from edgeqa_cloud.enrolment.registry import CERTIFICATE, hold, live, record
from edgeqa_cloud.enrolment.tables import credentials

ISSUED_BY = "renewal"
_MAX_REQUEST_BYTES = 32 << 10
# In a day, or in a lifetime where that is shorter. A device needs one in two thirds of a lifetime,
# and another for each that it could not prove or write.
MOST_RENEWALS = 12
_WINDOW = timedelta(days=1)


class Renewals:
    """Answers requests.

    Args:
        authority: signs; has the key of devices.
        database: with the registry.
        valid_days: a certificate counts so long.
        now: by our clock.
        log: for what is issued and refused.
    """

    def __init__(
        self,
        *,
        authority: Authority,
        database: Database,
        valid_days: float,
        now: Callable[[], datetime],
        log: FilteringBoundLogger,
    ) -> None:
        self._authority = authority
        self._database = database
        self._valid_days = valid_days
        self._now = now
        self._log = log

    def answer(self, topic: str, payload: bytes) -> tuple[str, CertificateIssued] | None:
        """The device and what it is answered; None where there is nobody to answer."""
        device = device_in(topic)
        if device is None:
            self._log.warning("certificate_request_misplaced", topic=topic[:200])
            return None
        try:
            request = parse_payload(CertificateRequest, payload, most_bytes=_MAX_REQUEST_BYTES)
        except PayloadError as error:  # its id, by which the device knows its reply, is not known
            self._log.warning(
                "certificate_request_malformed", device=device, code=error.code, reason=str(error)
            )
            return None
        try:
            issued = self._issue(device, request)
        except EdgeqaError as error:
            self._log.warning(
                "certificate_refused", device=device, code=error.code, reason=str(error)
            )
            return device, CertificateIssued(id=request.id, code=error.code, message=str(error))
        except DBAPIError as error:
            # The device asks again by itself.
            self._log.error("certificate_not_issued", device=device, reason=reason(error))
            return None
        self._log.info(
            "certificate_issued",
            device=device,
            serial=issued.serial,
            expires=issued.expires.isoformat(),
        )
        return device, CertificateIssued(id=request.id, certificate=issued.certificate)

    def _issue(self, device: str, request: CertificateRequest) -> Issued:
        """Sign and record, in one transaction.

        Raises:
            NotEnrolledError: nothing counts that the device holds.
            RenewedTooOftenError: again and again.
            EdgeqaError: the request is another's or no good, or the authority cannot sign.
        """
        now = self._now()
        if request.device != device:
            raise NotEnrolledError(
                f"a request of {request.device} came under the name of {device}",
                code="certificate_of_another",
            )
        with self._database.writing() as connection:
            hold(connection, Role.DEVICE, device)
            self._check_enrolled(connection, device, now)
            self._check_pace(connection, device, now)
            issued = self._authority.sign_request(
                Role.DEVICE, request.request, name=device, valid_days=self._valid_days, now=now
            )
            record(connection, issued, issued_by=ISSUED_BY)
        return issued

    def _check_enrolled(self, connection: Connection, device: str, now: datetime) -> None:
        c = credentials.c
        counts = select(func.count()).where(
            c.role == str(Role.DEVICE), c.name == device, c.method == CERTIFICATE, live(_ms(now))
        )
        if not connection.execute(counts).scalar_one():
            raise NotEnrolledError(
                f"{device} has no certificate that counts: it was revoked, has expired, or was "
                "never enrolled; `edgeqa cloud enrolled` says which"
            )

    def _check_pace(self, connection: Connection, device: str, now: datetime) -> None:
        since = now - min(_WINDOW, timedelta(days=self._valid_days))
        c = credentials.c
        lately = select(func.count()).where(
            c.role == str(Role.DEVICE),
            c.name == device,
            c.issued_by == ISSUED_BY,
            c.issued_ms > _ms(since),
        )
        if connection.execute(lately).scalar_one() >= MOST_RENEWALS:
            raise RenewedTooOftenError(
                f"{device} was issued {MOST_RENEWALS} certificates since {since:%Y-%m-%d %H:%M} UTC"
            )


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
