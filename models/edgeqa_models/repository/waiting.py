"""What metadata lack before clients accept them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tuf.api.metadata import Root

from edgeqa_models.repository.documents import Document
from edgeqa_models.repository.roles import Role
from edgeqa_models.repository.signatures import missing, verified_by
from edgeqa_models.repository.state import root_missing


@dataclass(frozen=True, slots=True)
class Waiting:
    """Metadata that lack signatures.

    Attributes:
        missing: how many.
        keyids: keys that have not signed yet, and may.
    """

    role: Role
    version: int
    missing: int
    keyids: tuple[str, ...]


def waiting_for(root: Root, document: Document) -> list[Waiting]:
    """What `document` lacks after `root`; nothing if it is complete."""
    lacking = missing(root, document)
    if not lacking:
        return []
    done = verified_by(root, document)
    keyids = tuple(one for one in root.roles[document.role].keyids if one not in done)
    return [Waiting(document.role, document.version, lacking, keyids)]


def waiting_for_root(old: Root, new: Document) -> list[Waiting]:
    """What a new root lacks, of the old root's keys or of its own."""
    parts = [*waiting_for(old, new), *waiting_for(new.signed, new)]
    if not parts:
        return []
    keyids = dict.fromkeys(keyid for part in parts for keyid in part.keyids)
    return [Waiting(Role.ROOT, new.version, root_missing(old, new), tuple(keyids))]
