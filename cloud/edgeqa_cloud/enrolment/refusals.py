"""Why an authority, or the registry of what it issued, does not do what was asked."""

from __future__ import annotations

from edgeqa.errors import ConfigError, ExitCode, UsageError


class AuthorityError(ConfigError):
    """There is no authority in the folder, or it cannot be used; `code` says why."""

    code = "no_authority"


class BadRequestError(UsageError):
    """A certificate signing request is malformed, weak, not signed, or of another."""

    code = "bad_signing_request"


class BadNameError(UsageError):
    """Nobody can be called that."""

    code = "bad_name"


class NotEnrolledError(UsageError):
    """Nobody of that name is enrolled, or the enrolment was revoked."""

    code = "not_enrolled"


class AlreadyEnrolledError(UsageError):
    """Somebody of that name is enrolled."""

    code = "already_enrolled"
    exit_code = ExitCode.REFUSED


class RenewedTooOftenError(UsageError):
    """A device asked for more certificates than it can need."""

    code = "renewed_too_often"
