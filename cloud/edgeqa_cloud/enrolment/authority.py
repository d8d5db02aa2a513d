"""The three authorities, opened: what signs certificates, the broker's own, and revocations.

Thread: any; nothing in it changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from edgeqa.identity.roles import Role
from edgeqa_cloud.enrolment.authority_folder import (
    About,
    read_about,
    read_certificate,
    read_key,
    role_files,
)
from edgeqa_cloud.enrolment.certificates import (
    Signer,
    member_certificate,
    pem_of,
    revocation_list,
    server_certificate,
)
from edgeqa_cloud.enrolment.names import check_name
from edgeqa_cloud.enrolment.refusals import AuthorityError
from edgeqa_cloud.enrolment.requests import requested_key


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that was issued, yet to be recorded.

    Attributes:
        certificate: PEM.
        serial: hexadecimal.
        fingerprint: SHA-256 of its DER, hexadecimal.
    """

    role: Role
    name: str
    certificate: str
    serial: str
    fingerprint: str
    issued: datetime
    expires: datetime


class Authority:
    """The authorities of all roles. Use `open`.

    Attributes:
        folder: where they lie.
        about: what the folder says of itself.
        certificates: of each role's authority.
    """

    def __init__(
        self,
        *,
        folder: Path,
        about: About,
        certificates: Mapping[Role, x509.Certificate],
        signers: Mapping[Role, Signer],
    ) -> None:
        self.folder = folder
        self.about = about
        self.certificates = certificates
        self._signers = signers

    @classmethod
    def open(cls, folder: Path, passphrase: str | None) -> Self:
        """Read the folder; keys that are there are opened, so that a wrong passphrase shows now.

        Raises:
            AuthorityError: `no_authority`, `authority_damaged`, `passphrase_missing`,
                `passphrase_wrong` or `key_exposed`; the message says what to do.
        """
        about = read_about(folder)
        certificates, signers = {}, {}
        for role in Role:
            files = role_files(folder, role)
            certificate = read_certificate(files.certificate)
            certificates[role] = certificate
            key = read_key(files.key, passphrase)
            if key is None:
                continue
            if certificate.public_key() != key.public_key():
                raise AuthorityError(
                    f"{files.key}: does not belong to {files.certificate}",
                    code="authority_damaged",
                )
            signers[role] = Signer(certificate, key)
        return cls(folder=folder, about=about, certificates=certificates, signers=signers)

    def reread(self) -> Self:
        """The same, with what its folder says of itself now.

        Raises:
            AuthorityError: as `open`.
        """
        return type(self)(
            folder=self.folder,
            about=read_about(self.folder),
            certificates=self.certificates,
            signers=self._signers,
        )

    def has_key(self, role: Role) -> bool:
        """Whether this can sign for a role; its key may be kept elsewhere."""
        return role in self._signers

    def sign_request(
        self, role: Role, request_pem: str, *, name: str, valid_days: float, now: datetime
    ) -> Issued:
        """Issue a certificate for the key of a signing request.

        Args:
            role: of who gets it.
            request_pem: PKCS #10, PEM.
            name: who gets it; the request must be of the same.
            valid_days: it counts so long, and no longer than the authority itself.
            now: by our clock.

        Raises:
            BadRequestError: `bad_signing_request`.
            BadNameError: `bad_name`.
            AuthorityError: the role's key is not here (`key_missing`), or the authority has
                expired (`authority_expired`).
        """
        check_name(name)
        signer = self._signer(role, now)
        return self._issue(signer, role, name, requested_key(request_pem, role=role, name=name),
                           valid_days=valid_days, now=now)  # fmt: skip

    def sign_key(
        self,
        role: Role,
        key: CertificatePublicKeyTypes,
        *,
        name: str,
        valid_days: float,
        now: datetime,
    ) -> Issued:
        """Issue a certificate for a key that was made here.

        Raises:
            BadNameError: as `sign_request`.
            AuthorityError: as `sign_request`.
        """
        check_name(name)
        signer = self._signer(role, now)
        return self._issue(signer, role, name, key, valid_days=valid_days, now=now)

    def sign_server(
        self,
        key: CertificatePublicKeyTypes,
        *,
        hosts: Sequence[str],
        valid_days: float,
        now: datetime,
    ) -> x509.Certificate:
        """The broker's own certificate, by the authority of services.

        Raises:
            AuthorityError: as `sign_request`.
        """
        signer = self._signer(Role.SERVICE, now)
        return server_certificate(signer, hosts, key, now=now, days=valid_days)

    def sign_revocations(
        self,
        role: Role,
        revoked: Iterable[tuple[int, datetime]],
        *,
        now: datetime,
        valid_days: float,
        before: datetime | None = None,
    ) -> x509.CertificateRevocationList:
        """A list of a role's revoked certificates; see `certificates.revocation_list`.

        Raises:
            AuthorityError: as `sign_request`.
        """
        signer = self._signer(role, now)
        return revocation_list(signer, revoked, now=now, days=valid_days, before=before)

    def _signer(self, role: Role, now: datetime) -> Signer:
        signer = self._signers.get(role)
        if signer is None:
            raise AuthorityError(
                f"the key of the {role} authority is not here; put it at "
                f"{role_files(self.folder, role).key} for as long as it is needed",
                code="key_missing",
            )
        end = signer.certificate.not_valid_after_utc
        if end <= now.astimezone(UTC):
            raise AuthorityError(
                f"the {role} authority expired on {end:%Y-%m-%d}; make another in a new folder "
                "with `edgeqa cloud authority init`, and enrol everybody again",
                code="authority_expired",
            )
        return signer

    def _issue(
        self,
        signer: Signer,
        role: Role,
        name: str,
        key: CertificatePublicKeyTypes,
        *,
        valid_days: float,
        now: datetime,
    ) -> Issued:
        made = member_certificate(signer, role, name, key, now=now, days=valid_days)
        return Issued(
            role=role,
            name=name,
            certificate=pem_of(made),
            serial=f"{made.serial_number:x}",
            fingerprint=made.fingerprint(hashes.SHA256()).hex(),
            issued=now.astimezone(UTC).replace(microsecond=0),
            expires=made.not_valid_after_utc,
        )
