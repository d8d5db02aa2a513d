"""Metadata files: parsing and stamping.

Pure: nothing here reads a file, a clock or a key folder. Each file carries the number of days that
it is valid for (`x-edgeqa-expiry-days`, signed with the rest), so that renewing needs no options
and tells when it was signed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from edgeqa.errors import VerificationError
from edgeqa_models.repository.roles import DEFAULT_DAYS, MAX_DAYS, Role

# Renewed by a plain `sign` when less than this part of its time is left.
DUE_PART = 0.5
_DAYS_FIELD = "x-edgeqa-expiry-days"
_KINDS: Mapping[Role, type[Any]] = {
    Role.ROOT: Root,
    Role.TARGETS: Targets,
    Role.SNAPSHOT: Snapshot,
    Role.TIMESTAMP: Timestamp,
}

Signed: TypeAlias = Root | Targets | Snapshot | Timestamp


@dataclass(frozen=True, slots=True)
class Document:
    """One metadata file. `metadata` is not to be changed: `raw` is what it was read from."""

    role: Role
    raw: bytes
    metadata: Metadata[Any]

    @property
    def signed(self) -> Any:
        """What is signed: Root, Targets, Snapshot or Timestamp, as `role` says."""
        return self.metadata.signed

    @property
    def version(self) -> int:
        """Rises by one with each file of the role."""
        return int(self.signed.version)

    @property
    def expires(self) -> datetime:
        """From then on, clients refuse it."""
        moment: datetime = self.signed.expires
        return moment

    @property
    def days(self) -> int:
        """How long it was made valid for."""
        return int(self.signed.unrecognized_fields.get(_DAYS_FIELD, DEFAULT_DAYS[self.role]))

    @property
    def signed_at(self) -> datetime:
        """When it was made."""
        return self.expires - timedelta(days=self.days)

    def is_due(self, now: datetime) -> bool:
        """Whether so little of its time is left that it should be renewed."""
        return now >= self.expires - timedelta(days=self.days * DUE_PART)

    @property
    def file_name(self) -> str:
        """As clients ask for it: only the timestamp's name stays the same."""
        return (
            f"{self.role}.json"
            if self.role is Role.TIMESTAMP
            else f"{self.version}.{self.role}.json"
        )


def parse(role: Role, raw: bytes, where: object) -> Document:
    """Read a metadata file, unverified.

    Args:
        role: that it must be of.
        raw: its bytes.
        where: named in errors.

    Raises:
        VerificationError: `repository_damaged`, it is malformed or of another role.
    """
    try:
        metadata = Metadata[Any].from_bytes(raw)
    except DeserializationError as error:
        raise VerificationError(f"{where}: not TUF metadata", code="repository_damaged") from error
    signed: Any = metadata.signed
    days = signed.unrecognized_fields.get(_DAYS_FIELD, DEFAULT_DAYS[role])
    if (
        not isinstance(signed, _KINDS[role])
        or not isinstance(days, int)
        or not 0 < days <= MAX_DAYS
    ):
        raise VerificationError(f"{where}: not {role} metadata", code="repository_damaged")
    return Document(role, raw, metadata)


def stamped(signed: Signed, *, version: int, now: datetime, days: int) -> Document:
    """A copy of `signed` as a new file: numbered, dated, and not signed yet."""
    content = copy.deepcopy(signed)
    content.version = version
    content.expires = now + timedelta(days=days)
    content.unrecognized_fields[_DAYS_FIELD] = days
    return document_of(Metadata(content))


def document_of(metadata: Metadata[Any]) -> Document:
    """Metadata as the file that clients read."""
    raw = metadata.to_bytes()
    return parse(Role(metadata.signed.type), raw, metadata.signed.type)
