"""The cloud's own certificate, renewed by itself: its authority is at hand.

The key stays; links read the new certificate when they connect next (`edgeqa.tls`).
"""

from __future__ import annotations

import os
import stat
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from edgeqa.files import write_atomic
from edgeqa.identity.certificate import Identity, parse_certificate, read_identity
from edgeqa.identity.roles import RENEW_SHARE, Role
from edgeqa.tls import CertificateFiles
from edgeqa_cloud.database import Database
from edgeqa_cloud.enrolment import registry
from edgeqa_cloud.enrolment.authority import Authority, Issued
from edgeqa_cloud.enrolment.refusals import AuthorityError


def renew_own(
    files: CertificateFiles,
    authority: Authority,
    database: Database,
    *,
    valid_days: float,
    now: datetime,
) -> Issued | None:
    """Issue and write the next certificate of a service, where little is left of the last.

    Args:
        files: what this process shows the broker; a key in the certificate's own file is not
            touched.
        authority: of services; a certificate of another is not touched.
        database: with the registry; who is not enrolled there any more is not renewed.
        valid_days: the next counts so long.
        now: by our clock.

    Returns:
        What was issued; None: there was nothing to do.

    Raises:
        IdentityError: the files cannot be read.
        AuthorityError: the key of services is not here, or the file cannot be written
            (`output_unwritable`).
        DBAPIError: the database cannot be written.
    """
    if files.key is None:
        return None
    identity = read_identity(files)
    if not _is_due(identity, now):
        return None
    certificate = parse_certificate(files.cert.read_bytes(), files.cert)
    if not _is_ours(certificate, authority):
        return None
    name = identity.name or ""
    with database.writing() as connection:
        if not registry.enrolled(connection, Role.SERVICE, name, now=now):
            return None
        issued = authority.sign_key(
            Role.SERVICE, certificate.public_key(), name=name, valid_days=valid_days, now=now
        )
        registry.record(connection, issued, issued_by="renewal")
        _replace(files, issued)  # what cannot be written is not recorded
    return issued


def _is_due(identity: Identity, now: datetime) -> bool:
    return identity.role is Role.SERVICE and identity.until - now < RENEW_SHARE * identity.lifetime


def _is_ours(certificate: x509.Certificate, authority: Authority) -> bool:
    try:
        certificate.verify_directly_issued_by(authority.certificates[Role.SERVICE])
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _replace(files: CertificateFiles, issued: Issued) -> None:
    try:
        status = files.cert.stat()
        owner = (status.st_uid, status.st_gid) if os.geteuid() == 0 else None
        mode = stat.S_IMODE(status.st_mode)
        write_atomic(files.cert, issued.certificate.encode(), mode=mode, owner=owner)
    except OSError as error:
        raise AuthorityError(
            f"{files.cert}: cannot be written: {error.strerror}; make it writable, or enrol "
            f"{issued.name} again before it expires",
            code="output_unwritable",
        ) from error
