"""What this device proves itself with: the certificate of its bundle, or one renewed since.

The bundle is the operator's and is only read. A renewed certificate lies with its key in one file
of the state folder, replaced in one step, so that a power cut leaves the one before or the new one.
Of the two, the newer that is valid counts: so a device that is enrolled again uses its new bundle.

Thread: any.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from edgeqa.files import sync_folder, write_atomic
from edgeqa.identity.certificate import Identity, IdentityError, open_to_all, read_identity, shown
from edgeqa.identity.roles import Role
from edgeqa.tls import CertificateFiles
from edgeqa_agent.settings import AgentSettings

FOLDER = "identity"
RENEWED_FILE = "renewed.pem"


def utc_now() -> datetime:
    """By the system's clock, which is the one that OpenSSL goes by."""
    return datetime.now(UTC)


class OwnIdentity:
    """Of one agent.

    Args:
        bundle: what the settings name.
        folder: for what is renewed; made when it is first needed.
        device: whose they must be.
        log: for what is passed over.
        now: the time.
    """

    def __init__(
        self,
        *,
        bundle: CertificateFiles,
        folder: Path,
        device: str,
        log: FilteringBoundLogger,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._bundle = bundle
        self._renewed = CertificateFiles(folder / RENEWED_FILE)
        self._device = device
        self._log = log
        self._now = now
        self._told: str | None = None

    @classmethod
    def of(cls, settings: AgentSettings, log: FilteringBoundLogger) -> OwnIdentity | None:
        """The identity that the settings name; None where they name no certificate."""
        if settings.broker_cert_file is None:
            return None
        return cls(
            bundle=CertificateFiles(settings.broker_cert_file, settings.broker_key_file),
            folder=settings.resolved_state_dir() / FOLDER,
            device=settings.device,
            log=log,
        )

    def check(self) -> Identity:
        """What is used, at a start.

        Raises:
            IdentityError: there is nothing that the broker could accept; `code` says why.
        """
        for leftover in self._renewed.cert.parent.glob(f".{RENEWED_FILE}.*"):
            with contextlib.suppress(OSError):
                leftover.unlink()  # it holds a key
        best = self.current()
        best.check_time(self._now())
        self._log.info(
            "identity_chosen",
            certificate=str(best.files.cert),
            name=best.name,
            role=best.role,
            expires=shown(best.until),
        )
        if open_to_all(best.files):
            self._log.warning("key_open_to_all", path=str(best.files.key or best.files.cert))
        return best

    def current(self) -> Identity:
        """The newer of the two that is valid now; if none is, the newer.

        Raises:
            IdentityError: there is none, or the bundle is another's.
        """
        renewed = self._read_renewed()
        try:
            bundle = read_identity(self._bundle)
        except IdentityError as error:
            if renewed is None:
                raise
            # A device whose card loses a sector serves on with what it renewed.
            self._pass_over(error)
            return renewed
        bundle.check_owner(Role.DEVICE, self._device)
        return bundle if renewed is None else max(bundle, renewed, key=self._worth)

    def files(self) -> CertificateFiles:
        """What to show at the next connect.

        Raises:
            IdentityError: as `current`.
        """
        return self.current().files

    def adopt(self, pem: bytes) -> Identity:
        """Keep a renewed certificate with its key; it is used from the next connect on.

        Raises:
            OSError: it cannot be written; what was there is as it was.
            IdentityError: it cannot be read back.
        """
        path = self._renewed.cert
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(path.parent.parent)  # also where an earlier try made it and got no further
        write_atomic(path, pem, mode=0o600)
        return read_identity(self._renewed)

    def _worth(self, identity: Identity) -> tuple[bool, datetime, datetime]:
        valid = identity.since <= self._now() <= identity.until
        return valid, identity.since, identity.until

    def _read_renewed(self) -> Identity | None:
        if not os.path.lexists(self._renewed.cert):
            return None
        try:
            renewed = read_identity(self._renewed)
            renewed.check_owner(Role.DEVICE, self._device)
        except IdentityError as error:
            self._pass_over(error)
            return None
        return renewed

    def _pass_over(self, error: IdentityError) -> None:
        if self._told != (said := str(error)):  # not again at each connect
            self._told = said
            self._log.warning("certificate_passed_over", code=error.code, reason=said)
