"""What the flags of `edgeqa cloud enrol` say, checked before anything is done."""

from __future__ import annotations

import re
from pathlib import Path

from edgeqa.certificate_messages import MAX_PEM_CHARS
from edgeqa.errors import UsageError
from edgeqa.identity.roles import Role
from edgeqa.topics import is_name
from edgeqa_cloud.enrolment.authority_folder import is_host
from edgeqa_cloud.settings import CloudSettings

_MAX_GROUPS = 16  # `edgeqa_agent.settings.AgentSettings.groups`
# It stands in files that shells, Docker and systemd read, each by rules of its own.
_PLAIN = re.compile(r"[A-Za-z0-9/._+@,-]{1,200}")


def role_of(*, client: bool, service: bool) -> Role:
    """Whom it is about.

    Raises:
        UsageError: it makes no sense.
    """
    if client and service:
        raise UsageError("--client and --service exclude each other")
    if client:
        return Role.CLIENT
    return Role.SERVICE if service else Role.DEVICE


def usual_days(settings: CloudSettings, role: Role) -> float:
    """How long it counts unless somebody says otherwise."""
    if role is Role.SERVICE:
        return settings.service_certificate_days
    return settings.certificate_days


def request_of(file: Path | None, *, by_password: bool) -> str | None:
    """What the file holds.

    Raises:
        UsageError: it makes no sense.
    """
    if file is None:
        return None
    if by_password:
        raise UsageError("--csr and --password exclude each other")
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return opened.read(MAX_PEM_CHARS + 1)
    except OSError as error:
        raise UsageError(f"--csr: {file}: {error.strerror}") from error


def groups_of(groups: list[str], role: Role) -> tuple[str, ...]:
    """Groups of a device.

    Raises:
        UsageError: it makes no sense.
    """
    if groups and role is not Role.DEVICE:
        raise UsageError("--group is for devices")
    if len(groups) > _MAX_GROUPS:
        raise UsageError(f"--group: at most {_MAX_GROUPS}")
    for one in groups:
        if not is_name(one):
            raise UsageError(f"--group: {one[:64]!r} must be letters, digits, '.', '_' or '-'")
    return tuple(groups)


def host_of(host: str | None) -> str | None:
    """A host, if one is named.

    Raises:
        UsageError: it makes no sense.
    """
    if host is not None and not is_host(host):
        raise UsageError(f"--broker-host: {host[:64]!r} is neither a host name nor an address")
    return host


def place_of(at: Path) -> Path:
    """Where a bundle will lie.

    Raises:
        UsageError: it makes no sense.
    """
    text = str(at)
    if not at.is_absolute() or not _PLAIN.fullmatch(text):
        raise UsageError(
            f"--at: {text[:100]!r} must be an absolute path of letters, digits and /._+@,-"
        )
    return at


def repository_of(settings: CloudSettings) -> tuple[str, Path] | None:
    """Where a device fetches packages, and what it trusts at first; None if it cannot reach it."""
    if settings.repository_root is None:
        return None
    url = settings.device_repository or settings.repository
    if url is None or not url.startswith(("http://", "https://")):
        return None
    return url, settings.repository_root
