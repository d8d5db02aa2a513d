"""Changing the keys of a role: the next root, decided without IO."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from tuf.api.metadata import Key, Root

from edgeqa.errors import ConfigError, UsageError
from edgeqa_models.repository.roles import Role

MIN_ID_CHARS = 4


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What a role's keys shall be.

    Attributes:
        role: whose.
        remove: ids of keys that it loses.
        add: keys that it gets.
        threshold: how many of them must sign; None leaves it.
    """

    role: Role
    remove: Sequence[str] = ()
    add: Sequence[Key] = ()
    threshold: int | None = None


def changed(root: Root, change: KeyChange) -> Root:
    """The root after a change of keys.

    Raises:
        UsageError: the threshold cannot be met by the keys, or a key is there already.
        ConfigError: `key_not_in_role`, a key to remove is not there.
    """
    made = copy.deepcopy(root)
    role = made.roles[change.role]
    for keyid in change.remove:
        if keyid not in role.keyids:
            raise ConfigError(f"key {keyid[:8]} is none of {change.role}", code="key_not_in_role")
        made.revoke_key(keyid, change.role)
    for key in change.add:
        if key.keyid in role.keyids:
            raise UsageError(f"key {key.keyid[:8]} is one of {change.role} already")
        if any(key.keyid in other.keyids for other in made.roles.values()):
            raise UsageError(
                f"key {key.keyid[:8]} belongs to another role; each role has keys of its own"
            )
        made.add_key(key, change.role)
    if change.threshold is not None:
        role.threshold = change.threshold
    if not 1 <= role.threshold <= len(role.keyids):
        raise UsageError(
            f"{change.role}: {role.threshold} signatures cannot be demanded of "
            f"{len(role.keyids)} keys"
        )
    return made


def find_key(root: Root, role: Role, text: str) -> str:
    """The id of a role's key that begins with `text`.

    Raises:
        ConfigError: `key_not_in_role`, none or several do.
    """
    found = [keyid for keyid in root.roles[role].keyids if keyid.startswith(text.lower())]
    if len(text) < MIN_ID_CHARS or len(found) != 1:
        known = ", ".join(keyid[:8] for keyid in root.roles[role].keyids)
        raise ConfigError(
            f"{text!r} names no key of {role}; it has {known}", code="key_not_in_role"
        )
    return found[0]
