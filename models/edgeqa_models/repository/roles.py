"""The roles of TUF, how long their signatures hold, and how large their metadata may be."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from tuf.ngclient import UpdaterConfig

MAX_DAYS = 3650
_CLIENT = UpdaterConfig()


class Role(StrEnum):
    """The four roles of TUF, in the order in which their metadata are made."""

    ROOT = "root"
    TARGETS = "targets"
    SNAPSHOT = "snapshot"
    TIMESTAMP = "timestamp"


# A fleet whose operator is on leave for five weeks goes on taking updates; devices keep answering
# whatever expires. docs/repository.md, "How long signatures hold".
DEFAULT_DAYS: Mapping[Role, int] = MappingProxyType(
    {Role.ROOT: 365, Role.TARGETS: 180, Role.SNAPSHOT: 60, Role.TIMESTAMP: 35}
)
# What a TUF client with its default settings takes; larger metadata would lock devices out.
MAX_BYTES: Mapping[Role, int] = MappingProxyType(
    {
        Role.ROOT: _CLIENT.root_max_length,
        Role.TARGETS: _CLIENT.targets_max_length,
        Role.SNAPSHOT: _CLIENT.snapshot_max_length,
        Role.TIMESTAMP: _CLIENT.timestamp_max_length,
    }
)
